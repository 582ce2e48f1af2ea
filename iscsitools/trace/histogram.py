"""The histogram of the sums: eight steps to each power of two, so that quantize's rows are exact sums of it.

A value of n significant bits (``int.bit_length``) falls into bucket ``8 * n`` plus the three bits below its leading
one. The widest bucket is an eighth of its lower bound, which bounds the error of a percentile read from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

STEPS: Final = 8
SIZE: Final = 65 * STEPS
"""Buckets enough for 64 bits."""


def index_of(value: int) -> int:
    """Return the bucket of a value that is not negative."""
    return value.bit_length() << 3 | (value << 4 >> value.bit_length()) & 7


def lower_bound(index: int) -> int:
    """Return the smallest value of a bucket (for values under 8 several buckets of a power share it)."""
    bits, step = divmod(index, STEPS)
    return 0 if bits == 0 else (STEPS + step) << bits >> 4


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Add histograms up."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for index, count in histogram.items():
            total[index] = total.get(index, 0) + count
    return total


def powers(histogram: Mapping[int, int]) -> dict[int, int]:
    """Return quantize's rows: counts by the power of two that is the row's lower bound, 0 for the value 0."""
    rows: dict[int, int] = {}
    for index, count in histogram.items():
        bits = index // STEPS
        bound = 1 << bits - 1 if bits else 0
        rows[bound] = rows.get(bound, 0) + count
    return dict(sorted(rows.items()))


def percentile(histogram: Mapping[int, int], share: float) -> int:
    """Return the middle of the bucket in which ``share`` (0 to 1) of the values is reached; 0 for no values."""
    left = share * sum(histogram.values())
    for index in sorted(histogram):
        left -= histogram[index]
        if left <= 0:
            return (lower_bound(index) + lower_bound(index + 1)) // 2
    return 0
