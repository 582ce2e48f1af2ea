"""The ``error`` filter: a failing disk on demand."""

from __future__ import annotations

import errno as errno_module
import os
import random
from typing import Any

from iscsitools.backstores import values
from iscsitools.backstores.base import Backstore, MediumError, Option
from iscsitools.backstores.filters.adjustable import AdjustableFilter


class ErrorFilter(AdjustableFilter):
    """``KIND+error``: fails a share of the calls, those that touch given bytes, or a share of those.

    With ``range``, only reads and writes that touch it fail; which share of them ``read`` and ``write`` say, and all of
    them when neither is given. A call that fails has changed nothing. With ``errno=EIO`` the error names the first
    failing byte, so that the initiator gets its LBA.
    """

    kind = "error"
    summary = "fails reads, writes or flushes, at random or in given ranges"
    options = (
        Option("read", values.fraction, 0.0, "share of the reads that fail"),
        Option("write", values.fraction, 0.0, "share of the writes, discards and zeroings that fail"),
        Option("flush", values.fraction, 0.0, "share of the flushes that fail"),
        Option("range", values.byte_ranges, (), "fail only what touches these bytes: OFFSET+LENGTH[/OFFSET+LENGTH]..."),
        Option("errno", values.errno, errno_module.EIO, "the error by its name, as ENOSPC; EIO unless given"),
        Option("seed", values.integer, 0, "begin of the random numbers; the same seed fails the same calls"),
    )
    of_reads = frozenset({"read", "range"})
    of_writes = frozenset({"write", "range"})

    def __init__(self, inner: Backstore, **options: Any) -> None:
        self._random = random.Random(options.get("seed", 0))
        super().__init__(inner, **options)

    def _follow(self) -> None:
        """With a new seed the numbers begin anew."""
        super()._follow()
        seeds = [setting.value for setting in self._settings if setting.name == "seed"]
        if seeds:
            self._random = random.Random(seeds[-1])

    def _fail(self, name: str, verb: str, offset: int, length: int) -> None:
        """Raise the error if this call is to fail."""
        rate, ranges = self.value(name), self.value("range")
        if ranges:
            if not self.value("read") and not self.value("write"):
                rate = 1.0
            touched = [at for r in ranges if (at := r.overlap(offset, length)) is not None]
            if not touched:
                return
            offset = min(touched)
        if not rate or self._random.random() >= rate:
            return
        number = self.value("errno")
        if number == errno_module.EIO:
            raise MediumError(f"the error filter fails this {verb}", offset)
        raise OSError(number, os.strerror(number))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fail or read."""
        self._fail("read", "read", offset, len(buffer))
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Fail or write."""
        self._fail("write", "write", offset, len(buffer))
        self.inner.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Fail as a write does, or as a flush does, or write durably."""
        self._fail("write", "write", offset, len(buffer))
        self._fail_flush()
        self.inner.write_through(offset, buffer)

    def flush(self) -> None:
        """Fail or flush."""
        self._fail_flush()
        self.inner.flush()

    def discard(self, offset: int, length: int) -> None:
        """Fail as a write does, or discard."""
        self._fail("write", "discard", offset, length)
        self.inner.discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Fail as a write does, or write zeros."""
        self._fail("write", "write", offset, length)
        self.inner.write_zeroes(offset, length)

    def _fail_flush(self) -> None:
        rate = self.value("flush")
        if rate and self._random.random() < rate:
            number = self.value("errno")
            raise OSError(number, os.strerror(number))
