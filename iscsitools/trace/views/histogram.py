"""Distributions of latencies: powers of two, as ``quantize`` counts them, and finer ones for percentiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

BUCKETS: Final = 65
"""Bucket 0 counts the value 0, bucket n values from 2^(n-1) up to below 2^n."""


def bucket_floor(bucket: int) -> int:
    """The smallest value that a power-of-two bucket counts."""
    return 1 << bucket - 1 if bucket else 0


def estimate(buckets: Sequence[int], fraction: float) -> float:
    """A percentile of a power-of-two distribution, taking the values in a bucket as evenly spread; 0 if it is empty.

    It is in the right bucket, so at most a factor of two from the truth.
    """
    rank = fraction * sum(buckets)
    below = 0
    for bucket, count in enumerate(buckets):
        if count and below + count >= rank:
            floor = bucket_floor(bucket)
            return floor + (rank - below) / count * floor
        below += count
    return 0.0


_SUB_BITS: Final = 7
_SUB: Final = 1 << _SUB_BITS


class Latencies:
    """Counts values in buckets of less than 1 % width; the maximum, the sum and the count are exact."""

    __slots__ = ("_buckets", "count", "maximum", "total")

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.maximum = 0
        for value in values:
            self.add(value)

    def add(self, value: int) -> None:
        """Count a value, 0 or more."""
        shift = max(value.bit_length() - _SUB_BITS - 1, 0)
        bucket = (shift << _SUB_BITS) + (value >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        self.maximum = max(self.maximum, value)

    def merge(self, other: Latencies) -> None:
        """Count all that ``other`` has counted."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def percentile(self, fraction: float) -> int:
        """The value that this fraction of all does not exceed, at most 1 % above the true one; 0 if there is none."""
        rank = max(fraction * self.count, 1)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(_top_of(bucket), self.maximum)
        return 0

    def powers_of_two(self) -> list[int]:
        """The same as power-of-two buckets."""
        counts = [0] * BUCKETS
        for bucket, count in self._buckets.items():
            counts[_top_of(bucket).bit_length()] += count
        return counts


def _top_of(bucket: int) -> int:
    """The largest value that :meth:`Latencies.add` puts into this bucket."""
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    return ((bucket - (shift << _SUB_BITS) + 1) << shift) - 1
