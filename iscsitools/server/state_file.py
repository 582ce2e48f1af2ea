"""What is served, kept across restarts: ``state/config.toml``, written whole or not at all.

It is a configuration like any other. Who starts the server reads it (:func:`state_path`); a configuration that is given
wins over it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from iscsitools.backstores.syscalls import replace_file
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
    text = _HEAD + toml_text(document_of(config))
    replace_file(str(path), text.encode(errors="surrogateescape"), _MODE)
