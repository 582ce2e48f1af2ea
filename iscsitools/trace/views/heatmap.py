"""``rwlat --heatmap``: latency over time in a terminal, or in a pipe: a shade says how many commands."""

from __future__ import annotations

from typing import Final

from iscsitools.trace.sums.histogram import powers
from iscsitools.trace.views.over_time import GridView
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.timegrid import TimeGrid
from iscsitools.trace.views.width import sentence

COLUMNS: Final = 60
_SHADES: Final = " .:-=+*#%@"


def heatmap_report(view: GridView) -> Report:
    """The report of a :class:`GridView`: a line per power of two of latency, a column per piece of time."""
    exact: list[tuple[str, float, int, int]] = []
    lines: list[str] = []
    for operation, grid in view.level():
        counts = [powers(column.histogram) for column in grid.columns]
        lines += _picture(operation, grid, counts)
        for n, column in enumerate(counts):
            exact += [(operation, n * grid.width / 1e9, value, count) for value, count in column.items()]
    return Report(("event", "time", "value", "count"), exact, lines or ["No read or write has ended."])


def _picture(operation: str, grid: TimeGrid, counts: list[dict[int, int]]) -> list[str]:
    values = {value for column in counts for value in column}
    most = max(max(column.values(), default=0) for column in counts)
    title = f"{operation.capitalize()} latency (ns), a column is {grid.width / 1e9:g} s"
    lines = sentence(f'{title}, shades "{_SHADES[1:]}" up to {most}')
    value = max(values)
    while value >= min(values):
        shades = "".join(_shade(column.get(value, 0), most) for column in counts)
        lines.append(f"{value:>16} |{shades:<{COLUMNS}}|")
        value = value // 2 if value else -1
    span = f"{len(counts) * grid.width / 1e9:g} s"
    return [*lines, f"{'':>17} 0{span:>{max(len(counts) - 1, len(span) + 1)}}", ""]


def _shade(count: int, most: int) -> str:
    """Blank for none; the lightest shade for few, so that one slow command is seen."""
    return _SHADES[-(-count * (len(_SHADES) - 1) // most)]
