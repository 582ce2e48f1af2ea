"""Values of many commands at once, sorted into the buckets of a declared histogram."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import rshift
from typing import Final, NamedTuple

from iscsitools.trace.sums import histogram
from iscsitools.trace.sums.declared import MOST_PLACES, Histogram, Scale

OCTAVES: Final = 0
"""The width of a distribution whose buckets are those of :mod:`iscsitools.trace.sums.histogram`."""


_index_of: Final = lru_cache(1024)(histogram.index_of)


class Distribution(NamedTuple):
    """A histogram as a reader gets it.

    ``width``: values of a bucket, the first of which is bucket times width; 0: the buckets are those of
    :mod:`iscsitools.trace.sums.histogram`.
    """

    width: int
    counts: dict[int, int]


class Buckets:
    """The counts of one histogram of one row."""

    __slots__ = ("_declared", "_widths", "counts", "shift")

    def __init__(self, declared: Histogram) -> None:
        self._declared = declared
        self.counts: Counter[int] = Counter()
        self._widths = declared.scale is Scale.WIDTHS
        self.shift = 0
        """Of equal widths: ``1 << shift`` values each."""

    def empty(self) -> Buckets:
        """Another one of the same histogram."""
        return Buckets(self._declared)

    def add(self, values: Sequence[int]) -> None:
        """Count values."""
        if not self._widths:
            histogram.add(self.counts, values)
            return
        self._widen(max(values).bit_length() - (MOST_PLACES - 1).bit_length())
        self.counts.update(map(rshift, values, (self.shift,) * len(values)))

    def add_some(self, value: int, count: int) -> None:
        """Count a value so many times: sizes and depths are mostly the same few."""
        if self._widths:
            self._widen(value.bit_length() - (MOST_PLACES - 1).bit_length())
            self.counts[value >> self.shift] += count
        else:
            self.counts[_index_of(value)] += count

    def add_sorted(self, shift: int, counts: Mapping[int, int]) -> None:
        """Count what was sorted elsewhere, into buckets of ``1 << shift`` values where the widths are equal."""
        self._widen(shift)
        self.counts.update(counts if shift == self.shift else widened(counts, self.shift - shift))

    def _widen(self, shift: int) -> None:
        if shift > self.shift:
            self.counts = Counter(widened(self.counts, shift - self.shift))
            self.shift = shift

    def read(self) -> Distribution:
        """Return a copy."""
        return Distribution(1 << self.shift if self._widths else OCTAVES, dict(self.counts))

    def reset(self) -> None:
        """Begin again from 0; the width stays, so that one interval's buckets are those of the next."""
        self.counts = Counter()


def widened(counts: Mapping[int, int], doublings: int) -> dict[int, int]:
    """Counts of buckets that are so many times twice as wide."""
    wide: dict[int, int] = {}
    for bucket, count in counts.items():
        wide[bucket >> doublings] = wide.get(bucket >> doublings, 0) + count
    return wide


def merged(distributions: Iterable[Distribution]) -> Distribution:
    """Add distributions of one histogram up: with equal widths, the widest is what the sum has."""
    parts = list(distributions)
    width = max((part.width for part in parts), default=OCTAVES)
    total: Counter[int] = Counter()
    for part in parts:
        doublings = (width // part.width).bit_length() - 1 if part.width else 0
        total.update(widened(part.counts, doublings) if doublings else part.counts)
    return Distribution(width, dict(total))
