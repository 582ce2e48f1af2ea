"""Folders for files that hold code: the tracepoints of DTrace for Linux, and libusdt while it is built."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MORE_FOLDERS: Final = ("/var/tmp", "/dev/shm")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_PRIVATE: Final = "/systemd-private-"
"""In the name of the folder that systemd puts in the place of /tmp and /var/tmp where a unit says PrivateTmp=."""


def places() -> tuple[str, ...]:
    """The folders that are tried, in this order. A system need not have one for temporary files that can be written."""
    try:
        return (tempfile.gettempdir(), *_MORE_FOLDERS)
    except FileNotFoundError:
        return _MORE_FOLDERS


def folders() -> Iterator[Path]:
    """Where code may be mapped from: writable, not mounted noexec. Folders that others see under their name come first.

    A tracer looks a file up by the name that this process has for it, which in a private /tmp leads nowhere.
    """
    found: list[Path] = []
    for name in places():
        folder = Path(name).resolve()
        if folder in found or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            continue
        if not os.statvfs(folder).f_flag & os.ST_NOEXEC:
            found.append(folder)
    private = _private_mounts()
    yield from sorted(found, key=lambda folder: any(folder.is_relative_to(mount) for mount in private))


def _private_mounts() -> list[Path]:
    """The mount points that systemd gave this process alone (proc(5), mountinfo: field 4 is the root of the mount)."""
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return []  # a system without it
    fields = (line.split(" ") for line in lines)
    return [Path(field[4]) for field in fields if len(field) > 4 and _PRIVATE in field[3]]
