"""A minute of one row of ``top`` as a heat map: latency upwards, a second for each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from iscsitools.trace.views.top.columns import duration

SHADES: Final = " .:-=+*#%@"
LABEL: Final = 7
"""Characters before the first column."""


def heat_lines(counts: Sequence[Mapping[int, int]], back: int = 0) -> list[list[tuple[int, str]]]:
    """Lines from the longest latency down, each of pieces: how hot (0 to 9, by the count) and its text.

    ``counts``: latencies of each second by powers of two of nanoseconds, the last one ``back`` seconds ago. A line is a
    power of two; its label is the least latency in it.
    """
    values = {value for column in counts for value in column}
    end = f"{-back} s" if back else "now"
    begin = f"{-back - len(counts)} s"
    foot = [(0, f"{'':{LABEL}}{begin}{end:>{len(counts) - len(begin)}}")]
    if not values:
        return [[(0, "No command ended in this time.")], foot]
    most = max(max(column.values(), default=0) for column in counts)
    lines = []
    value = max(values)
    while value >= max(min(values), 1):
        cells = [_heat(column.get(value, 0), most) for column in counts]
        lines.append([(0, f"{duration(value):>{LABEL - 2}} |"), *((heat, SHADES[heat]) for heat in cells)])
        value //= 2
    lines.append(foot)
    lines.append([(0, f"shades {SHADES[1:]!r} up to {most} commands")])
    return lines


def _heat(count: int, most: int) -> int:
    """0 for none; the least for few, so that one slow command is seen."""
    return -(-count * (len(SHADES) - 1) // most)
