"""The histogram of the sums: sixteen steps to each power of two, so that quantize's rows are exact sums of it.

A value's bucket is the first 16 bits of it as an IEEE 754 double: sign, exponent, and the four bits after the leading
one. Many values are sorted into buckets at the speed of C that way. A bucket is at most a sixteenth of its lower bound
wide, which bounds the error of a percentile. Exact below 2**53.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_DOUBLE: Final = struct.Struct(">d")
_BUCKET: Final = struct.Struct(">H6x")
_FIRST: Final = 3 if sys.byteorder == "little" else 0
_HIGH, _LOW = (7, 6) if sys.byteorder == "little" else (0, 1)
"""Where the two bytes of a bucket stand in a double."""
_FEW: Final = 48
"""Buckets that are searched for one by one."""
_EXPONENT_BIAS: Final = 1023
_SIGN: Final = 0x8000
"""The bit of a bucket of negative values; its other bits are as of the value without the sign."""


def index_of(value: float) -> int:
    """Return the bucket of a value that is not negative."""
    index: int = _BUCKET.unpack(_DOUBLE.pack(value))[0]
    return index


def _doubles(values: Sequence[float]) -> bytes:
    """The values as buckets are made of them; an array takes twice as long."""
    return struct.pack(f"{len(values)}d", *values)


def buckets(values: Sequence[float]) -> list[int]:
    """Return the bucket of each value."""
    return _buckets(_doubles(values))


def _buckets(doubles: bytes) -> list[int]:
    return memoryview(doubles).cast("H")[_FIRST::4].tolist()


def count(values: Sequence[float]) -> dict[int, int]:
    """Return how many values fall into each bucket."""
    doubles = _doubles(values)
    few = _few(values, doubles)
    return few if few is not None else Counter(_buckets(doubles))


def add(counts: Counter[int], values: Sequence[float]) -> None:
    """Count values into buckets that have counts."""
    doubles = _doubles(values)
    few = _few(values, doubles)
    if few is None:
        counts.update(_buckets(doubles))
        return
    for bucket, number in few.items():
        counts[bucket] += number


def _few(values: Sequence[float], doubles: bytes) -> dict[int, int] | None:
    """What :func:`count` returns, where there are few buckets; None: there may be more. ``doubles``: the values.

    Hot. Where the values are within sixteen octaves the low byte of the buckets says it all; and where these are few, a
    search of the bytes for each of them counts several times faster than a dict.
    """
    if not values:
        return {}
    high, low = doubles[_HIGH::8], doubles[_LOW::8]
    different = set(low)
    if len(different) > _FEW:
        return None
    if high.count(high[0]) == len(high):
        first = high[0] << 8
    else:
        least = min(values)
        if least < 0 or index_of(max(values)) - (first := index_of(least)) > 0xFF:
            return None
    return {first + (byte - first & 0xFF): low.count(byte) for byte in different}


def lower_bound(index: int) -> float:
    """Return the smallest value of a bucket."""
    value: float = _DOUBLE.unpack(_BUCKET.pack(index))[0]
    return value


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Add histograms up."""
    total: Counter[int] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(total)


def powers(histogram: Mapping[int, int]) -> dict[int, int]:
    """Return quantize's rows: counts by the power of two that is the row's lower bound, 0 for the value 0.

    The rows of negative values are named by the bound that is nearer to 0, as dtrace names them.
    """
    rows: dict[int, int] = {}
    for index, number in histogram.items():
        size = index & ~_SIGN
        bound = 1 << (size >> 4) - _EXPONENT_BIAS if size else 0
        bound = -bound if index & _SIGN else bound
        rows[bound] = rows.get(bound, 0) + number
    return dict(sorted(rows.items()))


def percentile(histogram: Mapping[int, int], share: float) -> int:
    """Return the middle of the bucket in which ``share`` (0 to 1) of the values is reached; 0 for no values."""
    if not histogram:
        return 0
    index = value_at(histogram, share)
    return int(lower_bound(index) + lower_bound(index + 1)) // 2


def value_at(histogram: Mapping[int, int], share: float) -> int:
    """Return the bucket in which ``share`` (0 to 1) of the values is reached; that of 0 for no values."""
    left = share * sum(histogram.values())
    for index in sorted(histogram, key=_place):
        left -= histogram[index]
        if left <= 0:
            return index
    return 0


def _place(index: int) -> int:
    """Where a bucket stands when they are ordered by their values."""
    return _SIGN - index if index & _SIGN else index
