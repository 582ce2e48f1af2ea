"""``iscsitools snoop``: events as they happen."""

from __future__ import annotations

import click

from iscsitools.cli.options import Number
from iscsitools.cli.watching import Watch, source_options, watch_stream
from iscsitools.errors import UsageError
from iscsitools.trace.views.snoop import SlowView, SnoopView


@click.command()
@source_options
@click.option("--wide", is_flag=True, help="All fields, as name=value.")
@click.option(
    "--slower", type=Number("milliseconds", 0, 1e9), metavar="MS", help="Only commands that took so long, whole."
)
@click.option("--errors", is_flag=True, help="Only commands that failed, with all their events.")
def command(watch: Watch, wide: bool, slower: float | None, errors: bool) -> None:
    """Print one line per event, as it happens.

    With INTERVAL and COUNT it ends after INTERVAL times COUNT seconds.
    """
    if watch.form == "csv" and (slower is not None or errors):
        raise UsageError("--csv is for single events; use --json with --slower and --errors")
    view: SnoopView | SlowView = SnoopView(wide, watch.clock)
    if slower is not None or errors:
        view = SlowView(int(slower * 1e6) if slower is not None else None, errors, wide, watch.clock)
    watch_stream(watch, view)
