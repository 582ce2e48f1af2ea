"""Reads a file that a configuration is, or names: at once, whole, and no more than makes sense."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from iscsitools.errors import RunError


def read_whole(file: Path, longest: int, noun: str) -> bytes:
    """Read a file, or a pipe as ``<(command)`` makes it; one that nobody writes to is not waited for.

    ``longest``: in bytes; what is longer is no ``noun``. Raises OSError and RunError.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        os.set_blocking(opened.fileno(), True)
        content = opened.read(longest + 1)
        if not content and stat.S_ISFIFO(os.fstat(opened.fileno()).st_mode):
            raise RunError(f"{file}: nobody writes to this pipe")
    if len(content) > longest:
        shown = f"{longest >> 20} MiB" if longest >> 20 else f"{longest >> 10} KiB"
        raise RunError(f"{file}: more than {shown}, which is no {noun}")
    return content
