"""``iscsitools who``: who does what: events by client and probe."""

from __future__ import annotations

import click

from iscsitools.cli.watching import Watch, source_options, watch_events, watch_sums
from iscsitools.trace.sums.snapshot import Snapshot
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.who import HEADINGS, WhoSums


@click.command()
@source_options
@click.option("--by", type=click.Choice(list(HEADINGS)), default="client", show_default=True, help="What a row is.")
def command(watch: Watch, by: str) -> None:
    """Count events by client and probe, as the script iscsiwho does.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """
    sums = WhoSums(by)

    def report(snapshot: Snapshot, seconds: int) -> Report:
        sums.clear()
        sums.take(snapshot)
        return sums.report(seconds)

    if by == "lun":
        watch_events(watch, sums, sums.report)
    else:
        watch_sums(watch, report, commands=False, events=True)
