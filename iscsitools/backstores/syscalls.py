"""What the ``file`` backstore needs of the operating system beyond :mod:`os`, and what is done without it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import sys
import tempfile
from typing import Final

RWF_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
RWF_DSYNC: Final[int] = getattr(os, "RWF_DSYNC", 0)


_MEMORY_FILE_SYSTEMS: Final = frozenset({0x01021994, 0x858458F6})  # linux/magic.h: tmpfs, ramfs

if sys.platform == "linux":
    libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True)
else:
    libc = None


def is_in_memory(fd: int) -> bool:
    """Whether the file lies in a file system that has no disk below it, so that no read waits for one."""
    if libc is None:
        return False
    answer = (ctypes.c_long * 64)()  # struct statfs begins with f_type and is smaller than this everywhere
    return libc.fstatfs(ctypes.c_int(fd), answer) == 0 and answer[0] in _MEMORY_FILE_SYSTEMS


def sync_data(fd: int) -> None:
    """Bring data, and what is needed to find it, to stable storage."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:  # macOS: fsync alone leaves it in the drive's cache
        fcntl.fcntl(fd, full)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_directory(path: str) -> None:
    """Make the names in ``path``'s directory durable: a file that was just made, or renamed."""
    fd = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(path: str, mode: int = 0o700) -> None:
    """Make a directory and those above it that are missing; each is durable when this returns."""
    missing = []
    path = os.path.abspath(path)
    while not os.path.exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder, mode)
        sync_directory(folder)


def read_fully(fd: int, offset: int, buffer: memoryview) -> int:
    """Read until ``buffer`` is full or the file ends; returns the bytes read. Calls may return less than asked for."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, (buffer[done:],), offset + done)
        if count == 0:
            break
        done += count
    return done


def write_fully(fd: int, offset: int, buffer: memoryview, flags: int = 0) -> None:
    """Write all of ``buffer``, in several calls where one takes less."""
    done = 0
    while done < len(buffer):
        count = os.pwritev(fd, (buffer[done:],), offset + done, flags)
        if count == 0:
            raise OSError(errno.EIO, "the file takes no more bytes")
        done += count


def replace_file(path: str, content: bytes, mode: int = 0o600) -> None:
    """Have a file of this content in place of the one that is there, durable when this returns. Raises OSError.

    It is written beside its place, made durable, and moved there: whatever moment a kill or a power cut chooses, the
    old content or the new one is found, never a mixture.
    """
    folder, name = os.path.split(os.path.abspath(path))
    make_folders(folder)
    fresh = os.path.join(folder, f".{name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        write_fully(fd, 0, memoryview(content))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(fresh, path)
    sync_directory(path)


def memory_file(name: str) -> int:
    """A descriptor of a new file in memory, or of one without a name where the system has none."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def is_block_device(mode: int) -> bool:
    """Whether ``st_mode`` is that of something which has blocks and no length of its own."""
    return stat.S_ISBLK(mode)
