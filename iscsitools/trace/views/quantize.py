"""A distribution drawn as dtrace's ``quantize`` draws it, to the character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from iscsitools.trace.views.histogram import bucket_floor

_WIDTH: Final = 40
_HEADER: Final = f"{'value':>16} {'------------- Distribution -------------':>41} {'count':<9}"


def quantize_lines(buckets: Sequence[int]) -> list[str]:
    """The header and a line per bucket, from the one below the first that counts to the one above the last.

    ``buckets`` as in :mod:`.histogram`. dtrace pads the count to nine places; so does this.
    """
    used = [n for n, count in enumerate(buckets) if count]
    first, last = (used[0], used[-1]) if used else (0, 0)
    total = sum(buckets)
    lines = [_HEADER]
    for n in range(first - 1, min(last + 1, len(buckets) - 1) + 1):
        count = buckets[n] if n >= 0 else 0
        # dtrace: the bar is count * 40 / total, rounded to the nearest
        bar = int(count * _WIDTH / total + 0.5) if total else 0
        value = bucket_floor(n) if n >= 0 else -1
        lines.append(f"{value:>16} |{'@' * bar:<{_WIDTH}} {count:<9}")
    return lines


def keyed_quantize(key: str, buckets: Sequence[int]) -> list[str]:
    """One key's part of an aggregation, as ``printa`` prints it: an empty line, the key, the distribution."""
    return ["", f"  {key:<50}", *quantize_lines(buckets)]
