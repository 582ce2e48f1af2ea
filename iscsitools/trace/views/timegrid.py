"""Latencies by the time at which their commands ended, in a bounded number of columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from iscsitools.trace.sums.histogram import index_of, percentile

FINEST: Final = 10_000_000
"""The first width of a column in nanoseconds; it doubles as often as it must."""


@dataclass(slots=True)
class Latencies:
    """The latencies in one column, by bucket of :mod:`iscsitools.trace.sums.histogram`; the maximum is exact."""

    histogram: Counter[int] = field(default_factory=Counter)
    maximum: int = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return self.histogram.total()

    def add(self, latency: int) -> None:
        """Count one."""
        self.histogram[index_of(latency)] += 1
        self.maximum = max(self.maximum, latency)

    def merge(self, other: Latencies) -> None:
        """Count all of another column."""
        self.histogram.update(other.histogram)
        self.maximum = max(self.maximum, other.maximum)

    def percentile(self, share: float) -> int:
        """A percentile, which is never above the maximum."""
        return self.maximum if share >= 1.0 else min(percentile(self.histogram, share), self.maximum)


class TimeGrid:
    """At most ``columns`` columns of equal width, from ``start`` (nanoseconds) on; each counts latencies."""

    def __init__(self, start: int, columns: int) -> None:
        self.start = start
        self.width = FINEST
        self._limit = columns
        self.columns: list[Latencies] = []

    def add(self, time: int, latency: int) -> None:
        """Count the latency of a command that ended at ``time``."""
        place = max(time - self.start, 0) // self.width
        while place >= self._limit:
            self._fold()
            place //= 2
        while len(self.columns) <= place:
            self.columns.append(Latencies())
        self.columns[place].add(latency)

    def _fold(self) -> None:
        self.width *= 2
        folded: list[Latencies] = []
        for n, column in enumerate(self.columns):
            if n % 2:
                folded[-1].merge(column)
            else:
                folded.append(column)
        self.columns = folded

    def widen(self, width: int) -> None:
        """Fold until the columns are at least ``width`` wide, so that two grids compare."""
        while self.width < width:
            self._fold()

    def whole(self) -> Latencies:
        """All columns together."""
        every = Latencies()
        for column in self.columns:
            every.merge(column)
        return every
