"""Copies between files within the kernel: copy_file_range(2), which shares blocks where the file system can."""

from __future__ import annotations

import errno
import os
from typing import Final

from iscsitools.backstores.ranges import RangeLock
from iscsitools.backstores.terms import CloneSource

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileClone(CloneSource):
    """A descriptor of its own for a file that is copied from; ``ranges`` are that file's."""

    def __init__(self, fd: int, ranges: RangeLock) -> None:
        self._fd = os.dup(fd)
        self._ranges = ranges

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def copy_to(self, source_offset: int, fd: int, ranges: RangeLock, offset: int, length: int) -> bool:
        """Copy to another file, or to another range of the same one; False when reading and writing has to do it.

        Both ranges are held. The order in which that is done is the same for all callers, so that two that copy to and
        fro do not wait for each other.
        """
        same = ranges is self._ranges
        if not hasattr(os, "copy_file_range") or (same and abs(source_offset - offset) < length):
            return False
        holds = [
            (id(self._ranges), source_offset, self._ranges.shared(source_offset, length)),
            (id(ranges), offset, ranges.exclusive(offset, length)),
        ]
        (_, _, first), (_, _, second) = sorted(holds, key=lambda hold: hold[:2])
        with first, second:
            return self._copy(source_offset, fd, offset, length)

    def _copy(self, source_offset: int, fd: int, offset: int, length: int) -> bool:
        done = 0
        while done < length:
            try:
                count = os.copy_file_range(self._fd, fd, length - done, source_offset + done, offset + done)
            except OSError as error:
                if error.errno in _NO_SPACE:
                    raise
                return False  # whichever of the two it was: reading and writing tells
            if not count:
                return False  # the source has become shorter
            done += count
        return True
