"""What the ``file`` backstore does on the event loop: reads and writes that need no waiting, or nothing.

One system call each, between two looks: whether the page cache has it all (RWF_NOWAIT, the edges of a write), and
whether a call in a thread is in the way (:mod:`iscsitools.backstores.ranges`). The C data path does the same by itself;
the words that both look at are in :mod:`iscsitools.backstores.shortcut`.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Final

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.durability import Durability
from iscsitools.backstores.ranges import RangeLock
from iscsitools.backstores.shortcut import (
    DIRECT,
    HOLDS,
    NO_WRITE_BEFORE,
    NO_WRITES,
    READ_FLAGS,
    UNFLUSHED,
    WRITERS,
    file_words,
    settle,
)
from iscsitools.backstores.syscalls import write_fully

_PAGE_MASK: Final = 4095
_SLOW_NS: Final = 20_000_000
_FIRST_PAUSE_NS: Final = 50_000_000
_LONGEST_PAUSE_NS: Final = 2_000_000_000


class CallsAtOnce(Backstore):
    """The part of :class:`~iscsitools.backstores.file.FileBackstore` that runs on the event loop.

    A class below and not an object beside it: the calls are hot, and use what the blocking ones use. Whoever opens the
    file sets ``_fd`` and ``durability``.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._words = file_words()
        self._ranges = RangeLock(self._words)
        self.durability: Durability
        self._pause = _FIRST_PAUSE_NS

    def try_read_into(
        self, offset: int, buffer: memoryview,
        _preadv: Callable[..., int] = os.preadv,
    ) -> bool:  # fmt: skip
        """Read if all of it is in the page cache. Hot: one system call, nothing else."""
        words = self._words
        flags = words[READ_FLAGS]
        if flags < 0:
            return False
        ranges = self._ranges
        ranges.inline = buffer  # before the look at the others: see RangeLock
        try:
            if words[WRITERS] and ranges.in_the_way(offset, len(buffer), False):
                return False
            return _preadv(self._fd, (buffer,), offset, flags) == len(buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # no RWF_NOWAIT in this file system
                self._words[READ_FLAGS] = -1
                return False
            raise
        finally:
            ranges.inline = None

    def try_write(
        self, offset: int, buffer: memoryview,
        _pwrite: Callable[..., int] = os.pwrite, _clock: Callable[[], int] = time.monotonic_ns,
        _seek: Callable[..., int] = os.lseek, _end: int = os.SEEK_END,
    ) -> bool:  # fmt: skip
        """Write into the page cache, unless a page would have to be read first or writers are being throttled. Hot.

        When a write took 20 ms, the file system is committing, or dirty pages are over the kernel's limit. Writes then
        go to threads for a while, twice as long each time that the first one after it is slow again. The look at the
        file's end costs a tenth of the write.
        """
        words = self._words
        start = _clock()
        if start < words[NO_WRITE_BEFORE] or words[DIRECT]:
            return False
        length = len(buffer)
        if (offset | length) & _PAGE_MASK and not self._edges_cached(offset, offset + length):
            return False
        ranges = self._ranges
        ranges.inline = buffer  # before the look at the others: see RangeLock
        try:
            if words[HOLDS] and ranges.in_the_way(offset, length, True):
                return False
            if offset + length > _seek(self._fd, 0, _end):
                return False  # somebody has cut the file: write() says so
            done = _pwrite(self._fd, buffer, offset)
            words[UNFLUSHED] = 1
            if done != length:
                write_fully(self._fd, offset + done, buffer[done:])
        finally:
            ranges.inline = None
        now = _clock()
        if now - start > _SLOW_NS:
            self._spare_the_loop(start, now)
        return True

    def _spare_the_loop(self, start: int, now: int) -> None:
        """A write on the loop was slow: leave the next ones to threads for a while."""
        again = start - self._words[NO_WRITE_BEFORE] < self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_NS) if again else _FIRST_PAUSE_NS
        self._words[NO_WRITE_BEFORE] = now + self._pause
        if self.durability.failed is not None:  # a thread has set it, and _no_write_before, in between
            self._words[NO_WRITE_BEFORE] = NO_WRITES

    def _edges_cached(self, start: int, end: int) -> bool:
        """Whether the pages that a write covers in part are in the page cache."""
        flags = self._words[READ_FLAGS]
        if flags <= 0:
            return flags == 0
        byte = bytearray(1)
        try:
            for position in (start, end):
                if position & _PAGE_MASK and os.preadv(self._fd, (byte,), position & ~_PAGE_MASK, flags) != 1:
                    return False
        except OSError:
            return False
        return True

    def _stop_writes_on_the_loop(self) -> None:
        self._words[NO_WRITE_BEFORE] = NO_WRITES
        settle()

    def _leave_to_threads(self) -> None:
        """Data threads use the file: Python moves nothing at once any more, for only holds keep those away.

        An attribute and no test, for what one loop alone pays.
        """
        self.try_read_into = self.try_write = _not_at_once  # type: ignore[assignment, method-assign]


def _not_at_once(_offset: int, _buffer: memoryview) -> bool:
    return False
