"""The ``error`` filter: a failing disk on demand."""

from __future__ import annotations

import errno as errno_module
import os
import random

from iscsitools.backstores import values
from iscsitools.backstores.base import Backstore, Filter, MediumError, Option


class ErrorFilter(Filter):
    """``KIND+error``: fails a share of the calls, those that touch given bytes, or a share of those.

    With ``range``, only reads and writes that touch it fail; which share of them ``read`` and ``write`` say, and all of
    them when neither is given. A call that fails has changed nothing. With ``errno=EIO`` the error names the first
    failing byte, so that the initiator gets its LBA.
    """

    kind = "error"
    same_disk = True
    summary = "fails reads, writes or flushes, at random or in given ranges"
    options = (
        Option("read", values.fraction, 0.0, "share of the reads that fail"),
        Option("write", values.fraction, 0.0, "share of the writes, discards and zeroings that fail"),
        Option("flush", values.fraction, 0.0, "share of the flushes that fail"),
        Option("range", values.byte_ranges, (), "fail only what touches these bytes: OFFSET+LENGTH[/OFFSET+LENGTH]..."),
        Option("errno", values.errno, errno_module.EIO, "the error by its name, as ENOSPC; EIO unless given"),
        Option("seed", values.integer, 0, "begin of the random numbers; the same seed fails the same calls"),
    )

    def __init__(
        self,
        inner: Backstore,
        read: float = 0.0,
        write: float = 0.0,
        flush: float = 0.0,
        range: tuple[values.ByteRange, ...] = (),  # the option's name
        errno: int = errno_module.EIO,
        seed: int = 0,
    ) -> None:
        super().__init__(inner)
        if range and not read and not write:
            read = write = 1.0
        self._read, self._write, self._flush = read, write, flush
        self._ranges = range
        self._errno = errno
        self._random = random.Random(seed)
        self.passes_reads = not read
        self.passes_writes = not write

    def _fail(self, rate: float, verb: str, offset: int, length: int) -> None:
        """Raise the error if this call is to fail."""
        if not rate:
            return
        if self._ranges:
            touched = [at for r in self._ranges if (at := r.overlap(offset, length)) is not None]
            if not touched:
                return
            offset = min(touched)
        if self._random.random() >= rate:
            return
        if self._errno == errno_module.EIO:
            raise MediumError(f"the error filter fails this {verb}", offset)
        raise OSError(self._errno, os.strerror(self._errno))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fail or read."""
        self._fail(self._read, "read", offset, len(buffer))
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Fail or write."""
        self._fail(self._write, "write", offset, len(buffer))
        self.inner.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Fail as a write does, or as a flush does, or write durably."""
        self._fail(self._write, "write", offset, len(buffer))
        self._fail_flush()
        self.inner.write_through(offset, buffer)

    def flush(self) -> None:
        """Fail or flush."""
        self._fail_flush()
        self.inner.flush()

    def discard(self, offset: int, length: int) -> None:
        """Fail as a write does, or discard."""
        self._fail(self._write, "discard", offset, length)
        self.inner.discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Fail as a write does, or write zeros."""
        self._fail(self._write, "write", offset, length)
        self.inner.write_zeroes(offset, length)

    def _fail_flush(self) -> None:
        if self._flush and self._random.random() < self._flush:
            raise OSError(self._errno, os.strerror(self._errno))
