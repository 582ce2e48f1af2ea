"""What is served, kept across restarts: ``state/config.toml``, written whole or not at all.

It is a configuration like any other. Who starts the server reads it (:func:`state_path`); a configuration that is given
wins over it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from iscsitools.config import Config
from iscsitools.config.document import document_of, toml_text

_HEAD: Final = "# Written by iscsitools serve: what is served, as it was changed. Another configuration wins over it.\n"
_MODE: Final = 0o600  # it may hold secrets


def state_path(folder: str) -> Path:
    """The file of a ``state``."""
    return Path(os.path.expanduser(folder)) / "config.toml"


def write_state(config: Config) -> None:
    """Keep a configuration in its ``state``, if it has one. Raises OSError, and what was there stays."""
    if config.state is None:
        return
    path = state_path(config.state)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = _HEAD + toml_text(document_of(config))
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
