"""Turns a folder into a disk image with an ext4 file system."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

_FILE: Final = 4096 + 256
"""Bytes that a file takes besides its contents: its last block, its inode."""


def make(folder: Path, image: Path, spare: int = 0) -> None:
    """Make ``image`` of everything in ``folder``, with ``spare`` bytes left free. The file is sparse."""
    size = spare + (16 << 20)
    for path, folders, files in os.walk(folder):
        size += sum(_FILE + os.lstat(os.path.join(path, name)).st_size for name in (*folders, *files))
    # No journal: the machine's changes to it are thrown away at its end.
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(folder), str(image)]
    image.unlink(missing_ok=True)
    subprocess.run(
        [*command, f"{size * 105 // 100 // 1024}k"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
