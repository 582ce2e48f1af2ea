"""Holes in files: making them (fallocate(2)) and finding them (lseek(2)).

Where a call is missing, punching and zeroing say so, and the caller writes zeros.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from typing import Final

from iscsitools.backstores.base import Allocation, Extent
from iscsitools.backstores.syscalls import libc

KEEP_SIZE: Final = 0x01  # linux/falloc.h
PUNCH_HOLE: Final = 0x02
ZERO_RANGE: Final = 0x10
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.ENODEV})


def _load_fallocate() -> Callable[[int, int, int, int], int] | None:
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


_fallocate = _load_fallocate()


def _allocate(fd: int, mode: int, offset: int, length: int) -> bool:
    if _fallocate is None:
        return False
    while _fallocate(fd, mode | KEEP_SIZE, offset, length) != 0:
        number = ctypes.get_errno()
        if number == errno.EINTR:
            continue
        if number in _UNSUPPORTED:
            return False
        raise OSError(number, os.strerror(number))
    return True


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Give the space of a range back, so that it reads as zeros; False where file system or device cannot.

    On a block device, too, this is the call to use: BLKDISCARD does not promise zeros afterwards, this does.
    """
    return _allocate(fd, PUNCH_HOLE, offset, length)


def zero_range(fd: int, offset: int, length: int) -> bool:
    """Make a range read as zeros and keep its space; False where file system or device cannot."""
    return _allocate(fd, ZERO_RANGE, offset, length)


def file_extents(fd: int, offset: int, length: int, block_size: int) -> Iterator[Extent]:
    """Holes and data of a range; a block that is in part data is data."""
    end = offset + length
    while offset < end:
        data = min(end, _seek(fd, offset, os.SEEK_DATA, end) // block_size * block_size)
        if data > offset:
            yield Extent(offset, data - offset, Allocation.HOLE)
            offset = data
        if offset < end:
            hole = -(-_seek(fd, offset, os.SEEK_HOLE, end) // block_size) * block_size
            hole = min(end, max(hole, offset + block_size))
            yield Extent(offset, hole - offset, Allocation.MAPPED)
            offset = hole


def _seek(fd: int, offset: int, whence: int, end: int) -> int:
    """Seek to the next hole or data; ``end`` when there is none, or (for data) ``offset`` where seeking is unknown."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end
        if error.errno == errno.EINVAL:  # no holes known here: all is data
            return offset if whence == os.SEEK_DATA else end
        raise
