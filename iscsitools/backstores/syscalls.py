"""What the ``file`` backstore needs of the operating system beyond :mod:`os`, and what is done without it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
import sys
from typing import Final

RWF_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
RWF_DSYNC: Final[int] = getattr(os, "RWF_DSYNC", 0)


_MEMORY_FILE_SYSTEMS: Final = frozenset({0x01021994, 0x858458F6})  # linux/magic.h: tmpfs, ramfs
_BLKSSZGET: Final = 0x1268  # linux/fs.h
_BLKPBSZGET: Final = 0x127B
_BLKIOOPT: Final = 0x1279
_BLKROTATIONAL: Final = 0x127E

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


class Device:
    """What a block device says of itself; zeros where the system has no such call."""

    __slots__ = ("logical_block_size", "optimal_io_size", "physical_block_size", "rotational", "thin")

    def __init__(self, fd: int) -> None:
        self.logical_block_size = _ioctl(fd, _BLKSSZGET, "I")
        self.physical_block_size = _ioctl(fd, _BLKPBSZGET, "I")
        self.optimal_io_size = _ioctl(fd, _BLKIOOPT, "I")
        self.rotational = bool(_ioctl(fd, _BLKROTATIONAL, "H"))
        self.thin = _queue_limit(fd, "discard_max_bytes") > 0 and _queue_limit(fd, "write_zeroes_max_bytes") > 0


def _ioctl(fd: int, request: int, form: str) -> int:
    if sys.platform != "linux":
        return 0
    try:
        answer = fcntl.ioctl(fd, request, bytes(struct.calcsize(form)))
    except OSError:
        return 0
    value: int = struct.unpack(form, answer)[0]
    return value


def _queue_limit(fd: int, name: str) -> int:
    number = os.fstat(fd).st_rdev
    folder = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    for queue in (f"{folder}/queue", f"{folder}/../queue"):  # a partition's is its disk's
        try:
            with open(f"{queue}/{name}", encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            continue
    return 0


def is_block_device(mode: int) -> bool:
    """Whether ``st_mode`` is that of something which has blocks and no length of its own."""
    return stat.S_ISBLK(mode)
