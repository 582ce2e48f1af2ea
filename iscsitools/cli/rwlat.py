"""``iscsitools rwlat``: read and write latency."""

from __future__ import annotations

from pathlib import Path

import click

from iscsitools.cli.distribution import check_plot, plot_caption
from iscsitools.cli.watching import Watch, source_options, watch_events, watch_sums
from iscsitools.errors import RunError, UsageError
from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.views.heatmap import COLUMNS as HEATMAP_COLUMNS
from iscsitools.trace.views.heatmap import heatmap_report, scrolled_report
from iscsitools.trace.views.over_time import GridView, PhaseView
from iscsitools.trace.views.phases import phase_percentile_report
from iscsitools.trace.views.plot import COLUMNS as PLOT_COLUMNS
from iscsitools.trace.views.plot import PlotError, write_plot
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.rwlat import percentile_report, rwlat_report
from iscsitools.trace.views.scrolling import ScrollView
from iscsitools.trace.views.width import fold


@click.command()
@source_options
@click.option("--percentiles", is_flag=True, help="p50, p90, p99, p99.9 and the maximum instead of a distribution.")
@click.option("--heatmap", is_flag=True, help="Latency over time, in characters; with INTERVAL it scrolls.")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw into FILE.png or FILE.svg.")
@click.option(
    "--phases",
    is_flag=True,
    help="Backstore, waiting for data, and sending, by LUN: averages, or percentiles.",
)
def command(watch: Watch, percentiles: bool, heatmap: bool, plot: Path | None, phases: bool) -> None:
    """Report the latency of reads and writes by client, as the script iscsirwlat does.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """
    if sum((percentiles or phases, heatmap, plot is not None)) > 1:
        raise UsageError("choose one of --heatmap, --plot, and --percentiles with or without --phases")
    if plot is not None:
        _plot(watch, plot)
    elif heatmap:
        _heatmap(watch)
    elif phases and percentiles:
        watch_sums(watch, phase_percentile_report, histograms=PHASES)
    elif phases:
        view = PhaseView()
        watch_events(watch, view, view.report)
    else:
        watch_sums(watch, percentile_report if percentiles else rwlat_report)


def _heatmap(watch: Watch) -> None:
    interval = watch.source.interval
    if interval is None:
        grid = GridView(HEATMAP_COLUMNS)
        watch_events(watch, grid, lambda elapsed: heatmap_report(grid, watch.clock))
    else:
        view, width = ScrollView(HEATMAP_COLUMNS), int(interval * 1e9)
        watch_events(watch, view, lambda elapsed: scrolled_report(view, width, elapsed))


def _plot(watch: Watch, path: Path) -> None:
    check_plot(watch, path)
    grid = GridView(PLOT_COLUMNS)
    caption = plot_caption(watch)

    def report(elapsed: int) -> Report:
        try:
            write_plot(grid, path, caption, watch.clock)
        except PlotError as error:
            raise RunError(str(error)) from None
        return Report(["plot"], [[str(path)]], list(fold(f"Plot written to {path}", "")))

    watch_events(watch, grid, report)
