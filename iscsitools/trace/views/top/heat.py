"""The last minute of one row of ``top`` as a heat map: latency upwards, a second for each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from iscsitools.trace.sums.histogram import powers
from iscsitools.trace.views.top.columns import duration

SHADES: Final = " .:-=+*#%@"
_LABEL: Final = 7


def heat_lines(history: Sequence[Mapping[int, int]]) -> list[list[tuple[int, str]]]:
    """Lines from the longest latency down, each of pieces: how hot (0 to 9, by the count) and its text.

    A line is a power of two of nanoseconds; its label is the least latency in it.
    """
    counts = [powers(cell) for cell in history]
    values = {value for column in counts for value in column}
    if not values:
        return [[(0, "No command has ended in the last minute.")]]
    most = max(max(column.values(), default=0) for column in counts)
    lines = []
    value = max(values)
    while value >= max(min(values), 1):
        cells = [_heat(column.get(value, 0), most) for column in counts]
        lines.append([(0, f"{duration(value):>{_LABEL - 2}} |"), *((heat, SHADES[heat]) for heat in cells)])
        value //= 2
    ages = f"{-len(history)} s"
    lines.append([(0, f"{'':{_LABEL}}{ages}{'now':>{len(history) - len(ages)}}")])
    lines.append([(0, f"{'':{_LABEL}}shades {SHADES[1:]!r} up to {most} commands")])
    return lines


def _heat(count: int, most: int) -> int:
    """0 for none; the least for few, so that one slow command is seen."""
    return -(-count * (len(SHADES) - 1) // most)
