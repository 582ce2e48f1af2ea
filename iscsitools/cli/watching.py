"""What the watching commands share: their options, their start-up line, their output."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import click

from iscsitools.cli.options import FILTER, FORM, READ, SECONDS, SERVER, TIMES, Reports, take_source
from iscsitools.cli.output import take_any_name
from iscsitools.errors import RunError, UsageError
from iscsitools.trace.names import servers
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.views.clock import Clock, Times
from iscsitools.trace.views.report import Report, as_csv, as_json
from iscsitools.trace.views.run import event_batches, snapshots
from iscsitools.trace.views.snoop import SlowView, SnoopView
from iscsitools.trace.views.watch import EndRequest, WatchOptions

STARTED = "Tracing... Hit Ctrl-C to end."


@dataclass(slots=True)
class Watch:
    """The common options, and how to print: text, ``json`` or ``csv``."""

    source: WatchOptions
    form: str = "text"
    clock: Clock = field(default_factory=Clock)
    _csv_header: bool = True

    def __post_init__(self) -> None:
        """Names come from initiators."""
        take_any_name(exact=not self.plain)

    @property
    def plain(self) -> bool:
        """Whether people read it."""
        return self.form == "text"

    def started(self) -> None:
        """Print the start-up line; beside JSON or CSV it goes to standard error."""
        click.echo(STARTED, err=not self.plain)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print a line on standard error, as dtrace does for drops."""
        sys.stdout.flush()
        click.echo(f"iscsitools: {text}", err=True)

    def write(self, report: Report, elapsed: int) -> None:
        """Print a report; with an interval people see when it ended."""
        if self.form == "json":
            print(as_json(report, elapsed, self.clock.exact_after(elapsed)))
        elif self.form == "csv":
            when = f"{elapsed / 1e9:.6f}", self.clock.exact_after(elapsed)
            self._write_csv(["elapsed", "clock", *report.names], [[*when, *row] for row in report.rows])
        else:
            if self.source.interval is not None:
                print(f"\n{self.clock.after(elapsed, precise=self.source.interval < 1)}")
            print("\n".join(report.lines))
        sys.stdout.flush()

    def write_part(self, report: Report) -> None:
        """Print what belongs to a stream of its own kind: JSON objects and CSV rows without the time of a report."""
        if self.form == "json":
            print("\n".join(json.dumps(record) for record in report.records))
        elif self.form == "csv":
            self._write_csv(report.names, report.rows)
        else:
            print("\n".join(report.lines))

    def name_columns(self, names: Sequence[str]) -> None:
        """Print the names of CSV, before there is any row."""
        if self.form == "csv":
            self._write_csv(names, [])

    def _write_csv(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Names first, once, though there may be no row."""
        text = as_csv([names, *rows] if self._csv_header else rows)
        if text:
            self._csv_header = False
            print(text)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what to watch, and the form of the output; it gets a :class:`Watch`."""

    @click.argument("interval", type=SECONDS, required=False)
    @click.argument("count", type=Reports(), required=False)
    @FILTER
    @SERVER
    @READ
    @TIMES
    @FORM
    @functools.wraps(command)
    def wrapped(*, form: str | None, times: Times, **options: Any) -> None:
        watch = Watch(take_source(options), form or "text", Clock(times))
        with trace_errors():
            command(watch, **options)

    return wrapped


@contextmanager
def trace_errors() -> Iterator[None]:
    """Turn what goes wrong with a trace into one line and exit status 1."""
    try:
        yield
    except TraceError as error:
        raise RunError(str(error)) from None


def one_server(source: WatchOptions) -> None:
    """Raise UsageError with the choice when several servers run and none was named."""
    if source.name is None and source.socket is None and source.read is None:
        found = [entry.name for entry in servers()]
        if len(found) > 1:
            raise UsageError(f"several servers are running, choose one with --name: {', '.join(found)}")


def watch_sums(
    watch: Watch,
    report: Callable[[Any, int], Report],
    *,
    commands: bool = True,
    events: bool = False,
    histograms: Sequence[str] = (),
) -> None:
    """Print ``report(snapshot, nanoseconds of the interval)`` for each interval, or once at the end."""
    one_server(watch.source)
    with EndRequest() as stop:
        pieces = snapshots(watch.source, watch, stop, commands=commands, events=events, histograms=histograms)
        for snapshot, elapsed in pieces:
            watch.write(report(snapshot, snapshot.time - snapshot.since), elapsed)


def watch_events(watch: Watch, view: Any, report: Callable[[int], Report]) -> None:
    """Feed ``view`` events and print ``report(nanoseconds)`` for each interval, or once at the end."""
    one_server(watch.source)
    with EndRequest() as stop:
        for batch in event_batches(watch.source, view.mask, watch, stop):
            for event in batch.events:
                view.feed(event)
            for ident in batch.closed:
                view.closed(ident)
            if batch.elapsed is not None:
                watch.write(report(batch.elapsed), batch.elapsed)
                view.clear()


def watch_stream(watch: Watch, view: SnoopView | SlowView) -> None:
    """Print what ``view`` makes of each event, as it comes."""
    one_server(watch.source)
    untitled = watch.plain
    with EndRequest() as stop:
        for batch in event_batches(watch.source, view.mask, watch, stop):
            watch.name_columns(view.names)
            for report in chain.from_iterable([*map(view.reports, batch.events), *map(view.closed, batch.closed)]):
                if untitled and view.heading is not None:
                    print(view.heading)
                untitled = False
                watch.write_part(report)
            sys.stdout.flush()
