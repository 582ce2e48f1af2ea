"""What ``size``, ``seek`` and ``queue`` share: their options and forms."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from iscsitools.cli.watching import Watch, source_options, watch_sums
from iscsitools.errors import RunError, UsageError
from iscsitools.trace.client.attach import WatchedServer
from iscsitools.trace.views.clock import day_text
from iscsitools.trace.views.distribution_plot import write_distributions
from iscsitools.trace.views.distributions import DistributionKind, distribution_report, distributions, share_report
from iscsitools.trace.views.plot import PlotError, check_plot_file
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.width import fold


def distribution_command(kind: DistributionKind, text: str) -> click.Command:
    """The command that reports distributions of one kind; ``text``: its help."""

    @click.command(help=text)
    @source_options
    @click.option("--percentiles", is_flag=True, help="A line for each instead of a distribution.")
    @click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw into FILE.png or FILE.svg.")
    def command(watch: Watch, percentiles: bool, plot: Path | None) -> None:
        if percentiles and plot is not None:
            raise UsageError("choose one of --percentiles and --plot")
        if plot is not None:
            _plot(watch, kind, plot)
            return
        report = share_report if percentiles else distribution_report
        watch_sums(watch, lambda snapshot, elapsed: report(snapshot, kind), histograms=[kind.histogram])

    return command


def _plot(watch: Watch, kind: DistributionKind, path: Path) -> None:
    check_plot(watch, path)
    caption = plot_caption(watch)

    def report(snapshot: Any, elapsed: int) -> Report:
        try:
            write_distributions(distributions(snapshot, kind), kind.title, caption, path)
        except PlotError as error:
            raise RunError(str(error)) from None
        return Report(["plot"], [[str(path)]], list(fold(f"Plot written to {path}", "")))

    watch_sums(watch, report, histograms=[kind.histogram])


def check_plot(watch: Watch, path: Path) -> None:
    """Raise UsageError before tracing begins, when no plot can come of it."""
    if watch.source.interval is not None and watch.source.count != 1:
        raise UsageError("--plot draws one picture: give no INTERVAL, or INTERVAL and a COUNT of 1")
    try:
        check_plot_file(path)
    except PlotError as error:
        raise UsageError(str(error)) from None


def plot_caption(watch: Watch) -> str:
    """What a picture is of: the server or recording, whose commands, and when. Raises TraceError."""
    source = watch.source
    if source.read is not None:
        what = f"recording {source.read.name}"
        try:
            when = source.read.stat().st_mtime
        except OSError:
            when = time.time()  # what is wrong with the file is said when it is read
    else:
        with WatchedServer(source.name, source.socket) as server:
            what, when = f"server {server.name}", time.time()
    parts = [what, f"client {source.client}" if source.client is not None else "all clients"]
    parts += [source.target] if source.target is not None else []
    parts += [f"LUN {source.lun}"] if source.lun is not None else []
    return ", ".join([*parts, day_text(when, watch.clock.times)])
