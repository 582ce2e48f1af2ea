"""``rwlat --heatmap``: latency over time in a terminal, or in a pipe: a shade says how many commands."""

from __future__ import annotations

from typing import Final

from iscsitools.trace.views.histogram import bucket_floor
from iscsitools.trace.views.latency import GridView
from iscsitools.trace.views.report import Record, Report
from iscsitools.trace.views.timegrid import TimeGrid

COLUMNS: Final = 60
_SHADES: Final = " .:-=+*#%@"


def heatmap_report(view: GridView) -> Report:
    """The report of a :class:`GridView`: a line per power of two of latency, a column per piece of time."""
    records: list[Record] = []
    lines: list[str] = []
    for operation, grid in view.level():
        counts = [column.powers_of_two() for column in grid.columns]
        lines += _picture(operation, grid, counts)
        for n, column in enumerate(counts):
            records += [
                {"event": operation, "time": n * grid.width / 1e9, "value": bucket_floor(bucket), "count": count}
                for bucket, count in enumerate(column)
                if count
            ]
    return Report(records, lines or ["No read or write has ended."])


def _picture(operation: str, grid: TimeGrid, counts: list[list[int]]) -> list[str]:
    used = [bucket for column in counts for bucket, count in enumerate(column) if count]
    most = max(max(column) for column in counts)
    lines = [
        f"{operation.capitalize()} latency (ns), a column is {grid.width / 1e9:g} s, "
        f'shades "{_SHADES[1:]}" up to {most}'
    ]
    for bucket in range(max(used), min(used) - 1, -1):
        shades = "".join(_shade(column[bucket], most) for column in counts)
        lines.append(f"{bucket_floor(bucket):>16} |{shades:<{COLUMNS}}|")
    span = f"{len(counts) * grid.width / 1e9:g} s"
    return [*lines, f"{'':>16} 0{span:>{max(len(counts), len(span))}}", ""]


def _shade(count: int, most: int) -> str:
    """Blank for none; the lightest shade for few, so that one slow command is seen."""
    return _SHADES[-(-count * (len(_SHADES) - 1) // most)]
