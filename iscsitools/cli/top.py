"""``iscsitools top``: the live screen."""

from __future__ import annotations

import dataclasses
import sys

import click

from iscsitools.cli.watching import Watch, source_options
from iscsitools.errors import RunError, UsageError
from iscsitools.trace.views.top.batch import batch_reports
from iscsitools.trace.views.top.columns import VIEWS
from iscsitools.trace.views.top.samples import LiveFeed
from iscsitools.trace.views.top.saved import Look, SavedError, saved_looks
from iscsitools.trace.views.watch import EndRequest


@click.command()
@source_options
@click.option("--batch", is_flag=True, help="Plain text, a report per interval, instead of the screen.")
@click.option("--view", metavar="NAME", help="load, latency, requests, phases, or what was saved by the key w.")
def command(watch: Watch, batch: bool, view: str | None) -> None:
    """Show who loads the target, live: a row per client, target and LUN.

    INTERVAL is 1 second. Without --name and --socket all servers are shown. Press h for the keys.
    """
    if watch.source.interval is None:
        watch.source = dataclasses.replace(watch.source, interval=1.0)
    look = _look(view)
    if batch or not watch.plain or watch.source.read is not None:
        with EndRequest() as stop:
            for report, elapsed in batch_reports(watch.source, watch, stop, look):
                watch.write(report, elapsed)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal; --batch prints plain text")
    if watch.source.count is not None:
        raise UsageError("COUNT is for --batch")
    from iscsitools.trace.views.top.screen import TopScreen

    feed = LiveFeed(watch.source, phases=look.view == "phases")
    TopScreen(feed.sample, watch.source.interval or 1.0, look, watch.clock.times, feed.want_phases).run()


def _look(name: str | None) -> Look:
    """The view of that name; a saved one goes before one of ours. Raises UsageError with the choice."""
    if name is None:
        return Look()
    try:
        looks = {**{view: Look(view) for view in VIEWS}, **saved_looks()}
    except SavedError as error:
        raise RunError(str(error)) from None
    if name not in looks:
        raise UsageError(f"there is no view {name!r}; there are {', '.join(looks)}")
    return looks[name]
