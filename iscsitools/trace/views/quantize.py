"""A distribution drawn as dtrace's ``quantize`` draws it, to the character."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from iscsitools.trace.sums.histogram import powers
from iscsitools.trace.views.width import fill, fold

_WIDTH: Final = 40
_HEADER: Final = f"{'value':>16} {'------------- Distribution -------------':>41} {'count':<9}"


def quantize_lines(histogram: Mapping[int, int]) -> list[str]:
    """The header and a line per power of two, from the one below the first that counts to the one above the last.

    ``histogram`` as in :mod:`iscsitools.trace.sums.histogram`. dtrace pads the count to nine places; so does this.
    """
    counts = powers(histogram)
    total = sum(counts.values())
    lines = [_HEADER]
    value = row_below(min(counts, default=0))
    last = row_above(max(counts, default=0))
    while value <= last:
        count = counts.get(value, 0)
        # dtrace: the bar is count * 40 / total, rounded to the nearest
        bar = int(count * _WIDTH / total + 0.5) if total else 0
        lines.append(f"{value:>16} |{'@' * bar:<{_WIDTH}} {count:<9}")
        value = row_above(value)
    return lines


def row_below(value: int) -> int:
    """The row before: 0 is between -1 and 1."""
    if value < 0:
        return value * 2
    return value // 2 if value else -1


def row_above(value: int) -> int:
    """The row behind."""
    return -row_below(-value)


def keyed_quantize(key: str, histogram: Mapping[int, int]) -> list[str]:
    """One key's part of an aggregation, as ``printa`` prints it: an empty line, the key, the distribution."""
    return ["", *fold(fill(key, 50), "  "), *quantize_lines(histogram)]


def weight(histogram: Mapping[int, int]) -> int:
    """By what dtrace sorts distributions: the sum of each row's value times its count."""
    return sum(value * count for value, count in powers(histogram).items())
