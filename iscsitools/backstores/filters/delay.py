"""The ``delay`` filter: a slow disk on demand, for trying out time-outs and for checking latency figures."""

from __future__ import annotations

import time

from iscsitools.backstores import values
from iscsitools.backstores.base import Option
from iscsitools.backstores.filters.adjustable import AdjustableFilter


class DelayFilter(AdjustableFilter):
    """``KIND+delay``: waits before it passes a call on. Calls wait side by side, as threads do, not in turn."""

    kind = "delay"
    summary = "waits before each read, write or flush"
    options = (
        Option("read", values.duration, 0.0, "wait before a read"),
        Option("write", values.duration, 0.0, "wait before a write, discard or zeroing"),
        Option("flush", values.duration, 0.0, "wait before a flush"),
        Option("per_mib", values.duration, 0.0, "wait besides so long for each MiB that a write moves"),
    )
    of_reads = frozenset({"read"})
    of_writes = frozenset({"write", "per_mib"})
    waits = True

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Wait, then read."""
        self._wait("read")
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Wait, then write."""
        self._wait("write", moved=len(buffer))
        self.inner.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Wait as for a write and a flush, then write durably."""
        self._wait("write", "flush", moved=len(buffer))
        self.inner.write_through(offset, buffer)

    def flush(self) -> None:
        """Wait, then flush."""
        self._wait("flush")
        self.inner.flush()

    def discard(self, offset: int, length: int) -> None:
        """Wait as for a write, then discard."""
        self._wait("write")
        self.inner.discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Wait as for a write, then write zeros."""
        self._wait("write")
        self.inner.write_zeroes(offset, length)

    def _wait(self, *names: str, moved: int = 0) -> None:
        seconds = sum(self.value(name) for name in names) + self.value("per_mib") * moved / (1 << 20)
        if seconds:
            time.sleep(seconds)
