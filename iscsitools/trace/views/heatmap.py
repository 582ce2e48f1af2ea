"""``rwlat --heatmap``: latency over time in a terminal, or in a pipe: a shade says how many commands.

Without an interval it is one picture of all the time; with one it scrolls, a column for each interval.
"""

from __future__ import annotations

from typing import Final

from iscsitools.trace.sums.histogram import powers
from iscsitools.trace.views.clock import Clock
from iscsitools.trace.views.over_time import GridView
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.scrolling import ScrollView
from iscsitools.trace.views.width import sentence

COLUMNS: Final = 60
_SHADES: Final = " .:-=+*#%@"
_NAMES: Final = ("event", "time", "value", "count")
_MILLISECONDS: Final = len("HH:MM:SS.mmm")
_NOTHING: Final = "No read or write has ended."


def heatmap_report(view: GridView, clock: Clock | None = None) -> Report:
    """The report of a :class:`GridView`: a line per power of two of latency, a column per piece of time.

    ``clock``: with one that knows the time of day, the picture says of what time it is.
    """
    exact: list[tuple[str, float, int, int]] = []
    lines: list[str] = []
    for operation, grid in view.level():
        counts = [powers(column.histogram) for column in grid.columns]
        begin, end = "0", f"{len(counts) * grid.width / 1e9:g} s"
        if clock is not None and clock.of_day:
            begin, end = (clock.of_event(grid.start + n * grid.width)[:_MILLISECONDS] for n in (0, len(counts)))
        foot = f"{begin}{end:>{max(len(counts) - len(begin), len(end) + 1)}}"
        lines += _picture(operation, grid.width, counts, foot)
        for n, column in enumerate(counts):
            exact += [(operation, n * grid.width / 1e9, value, count) for value, count in column.items()]
    return Report(_NAMES, exact, lines or [_NOTHING])


def scrolled_report(view: ScrollView, width: int, elapsed: int) -> Report:
    """The last intervals of a :class:`ScrollView`, each ``width`` nanoseconds; for programs the newest one alone."""
    exact: list[tuple[str, float, int, int]] = []
    lines: list[str] = []
    for operation, columns in view.shown():
        counts = [powers(column.histogram) for column in columns]
        label = f"{-len(counts) * width / 1e9:g} s"
        left = COLUMNS - len(counts)
        begin = min(left, COLUMNS - len(label) - len(" now"))
        foot = f"{'':{begin}}{label}{'now':>{COLUMNS - begin - len(label)}}"
        lines += _picture(operation, width, [{}] * left + counts, foot)
        exact += [(operation, (elapsed - width) / 1e9, value, count) for value, count in counts[-1].items()]
    return Report(_NAMES, exact, lines or [_NOTHING])


def _picture(operation: str, width: int, counts: list[dict[int, int]], foot: str) -> list[str]:
    values = {value for column in counts for value in column}
    most = max(max(column.values(), default=0) for column in counts)
    title = f"{operation.capitalize()} latency (ns), a column is {width / 1e9:g} s"
    lines = sentence(f'{title}, shades "{_SHADES[1:]}" up to {most}')
    value = max(values)
    while value >= min(values):
        shades = "".join(_shade(column.get(value, 0), most) for column in counts)
        lines.append(f"{value:>16} |{shades:<{COLUMNS}}|")
        value = value // 2 if value else -1
    return [*lines, f"{'':>17} {foot}", ""]


def _shade(count: int, most: int) -> str:
    """Blank for none; the lightest shade for few, so that one slow command is seen."""
    return _SHADES[-(-count * (len(_SHADES) - 1) // most)]
