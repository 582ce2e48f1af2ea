"""The ``delay`` filter: a slow disk on demand, for trying out time-outs and for checking latency figures."""

from __future__ import annotations

import time

from iscsitools.backstores import values
from iscsitools.backstores.base import Backstore, Filter, Option


class DelayFilter(Filter):
    """``KIND+delay``: waits before it passes a call on. Calls wait side by side, as threads do, not in turn."""

    kind = "delay"
    same_disk = True
    summary = "waits before each read, write or flush"
    options = (
        Option("read", values.duration, 0.0, "wait before a read"),
        Option("write", values.duration, 0.0, "wait before a write, discard or zeroing"),
        Option("flush", values.duration, 0.0, "wait before a flush"),
    )

    def __init__(self, inner: Backstore, read: float = 0.0, write: float = 0.0, flush: float = 0.0) -> None:
        super().__init__(inner)
        self._read, self._write, self._flush = read, write, flush
        self.passes_reads = not read
        self.passes_writes = not write
        if read or write or flush:
            self.blocking = True

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Wait, then read."""
        time.sleep(self._read)
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Wait, then write."""
        time.sleep(self._write)
        self.inner.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Wait as for a write and a flush, then write durably."""
        time.sleep(self._write + self._flush)
        self.inner.write_through(offset, buffer)

    def flush(self) -> None:
        """Wait, then flush."""
        time.sleep(self._flush)
        self.inner.flush()

    def discard(self, offset: int, length: int) -> None:
        """Wait as for a write, then discard."""
        time.sleep(self._write)
        self.inner.discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Wait as for a write, then write zeros."""
        time.sleep(self._write)
        self.inner.write_zeroes(offset, length)
