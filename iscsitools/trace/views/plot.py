"""``rwlat --plot``: latency over time and its distribution as PNG or SVG, by matplotlib (the extra ``plot``)."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iscsitools.trace.sums.histogram import powers
from iscsitools.trace.views.clock import Clock
from iscsitools.trace.views.over_time import GridView
from iscsitools.trace.views.timegrid import TimeGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLUMNS: Final = 240
_COLORS: Final = {"read": "#1f5fa8", "write": "#c2571a"}


class PlotError(Exception):
    """The plot cannot be made; the text is one line for the user."""


def check_plot_file(path: Path) -> None:
    """Raise PlotError before tracing begins when the plot could not be written at its end."""
    if path.suffix not in (".png", ".svg"):
        raise PlotError(f"{path}: a plot's name ends in .png or .svg")
    if not path.absolute().parent.is_dir():
        raise PlotError(f"{path.parent}: no such directory")
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError("--plot needs matplotlib, which the extra `plot` brings: pip install 'iscsitools[plot]'")


def write_plot(view: GridView, path: Path, caption: str, clock: Clock | None = None) -> None:
    """Draw one row of two pictures per operation: percentiles over time, and the distribution of all.

    ``caption``: what it is of, above all of them. ``clock``: says, if it can, from when on times count.
    """
    from matplotlib.figure import Figure

    grids = view.level()
    if not grids:
        raise PlotError("No read or write has ended: there is nothing to plot.")
    figure = Figure(figsize=(11, 3.6 * len(grids)), layout="constrained")
    figure.suptitle(caption, fontsize="medium")
    axes = figure.subplots(len(grids), 2, squeeze=False, width_ratios=[2.2, 1])
    end = max(len(grid.columns) * grid.width for _, grid in grids) / 1e9
    for row, (operation, grid) in zip(axes, grids, strict=True):
        _over_time(row[0], operation, grid, end)
        since = clock.of_event(grid.start) if clock is not None and clock.of_day else "tracing began"
        row[0].set_xlabel(f"seconds since {since}")
        _distribution(row[1], operation, grid)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise PlotError(f"{path}: {error.strerror}") from None


def _over_time(axes: Axes, operation: str, grid: TimeGrid, end: float) -> None:
    width = grid.width / 1e9
    times = [n * width + width / 2 for n in range(len(grid.columns))]
    styles: list[tuple[str, float, dict[str, Any]]] = [
        ("maximum", 1.0, {"marker": ".", "linestyle": "", "markersize": 4, "alpha": 0.55}),
        ("p99", 0.99, {"linewidth": 1.0, "linestyle": "--", "marker": "_", "markersize": 3}),
        ("median", 0.5, {"linewidth": 1.8, "marker": ".", "markersize": 3}),
    ]
    for label, fraction, style in styles:
        # Where no command ended there is no latency: a gap, not a line from one side to the other.
        values = [column.percentile(fraction) / 1e6 if column.count else math.nan for column in grid.columns]
        axes.plot(times, values, label=label, color=_COLORS[operation], **style)
    axes.set_yscale("log")
    _plain_numbers(axes.yaxis, axes.get_ylim())
    axes.set_xlim(0, end)
    axes.set_ylabel("latency (ms)")
    axes.set_title(f"{operation} latency over time, by {width:g} s")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(loc="best", fontsize="small")


def _distribution(axes: Axes, operation: str, grid: TimeGrid) -> None:
    every = grid.whole()
    counts = powers(every.histogram)
    left = [max(value, 1) / 1e6 for value in counts]
    axes.bar(left, list(counts.values()), width=left, align="edge", color=_COLORS[operation], edgecolor="white")
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis, axes.get_xlim())
    axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("commands")
    axes.set_title(f"{every.count} {operation}s, p99 {every.percentile(0.99) / 1e6:.3g} ms")
    axes.grid(True, axis="y", alpha=0.3)


def _plain_numbers(axis: Axis, limits: tuple[float, float]) -> None:
    """Write 0.5 and 20, not powers of ten; on an axis of a few decades name steps between them too."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    steps = (1.0,) if limits[1] > limits[0] * 300 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, place: ""))
