"""``top --batch``: a report per interval, of running servers or of a recorded file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.run import snapshots
from iscsitools.trace.views.top.columns import COLUMNS
from iscsitools.trace.views.top.model import Row, TopModel
from iscsitools.trace.views.top.samples import LiveFeed, sample_of
from iscsitools.trace.views.top.saved import Look
from iscsitools.trace.views.top.text import batch_lines
from iscsitools.trace.views.watch import EndRequest, Listener, WatchOptions

DEFAULT = Look()
_NAMES = (
    "client", "target", "lun", "reads", "writes", "read_bytes", "write_bytes", "average_ns", "p99_ns",
    "in_flight", "errors", "read_average_ns", "read_p99_ns", "write_average_ns", "write_p99_ns", "flushes", "unmaps",
)  # fmt: skip


def batch_reports(
    source: WatchOptions, listener: Listener, stop: EndRequest, look: Look = DEFAULT
) -> Iterator[tuple[Report, int]]:
    """Reports, with the nanoseconds since tracing began; the last one when it is asked to end."""
    if source.read is not None:
        model, selection = TopModel(), source.selection(ALL_MASK)
        phases = look.view == "phases"
        kept = PHASES if phases else ()
        for snapshot, elapsed in snapshots(source, listener, stop, histograms=kept, busy=phases):
            model.update(str(source.read), sample_of(str(source.read), snapshot, selection))
            yield _report(model, look), elapsed
        return
    feed = LiveFeed(source, phases=look.view == "phases")
    try:
        listener.started()
        yield from _live(source, feed, listener, stop, look)
    finally:
        feed.close()


def _live(
    source: WatchOptions, feed: LiveFeed, listener: Listener, stop: EndRequest, look: Look
) -> Iterator[tuple[Report, int]]:
    model = TopModel()
    began = due = time.monotonic()
    listener.clock.begins({"realtime": time.time_ns(), "monotonic": time.monotonic_ns()}, int(began * 1e9))
    left = source.count
    while left != 0 and not stop.asked:
        due += source.interval or 1.0
        stop.wait(due - time.monotonic())
        for name, sample in feed.sample():
            model.update(name, sample)
        yield _report(model, look), int((time.monotonic() - began) * 1e9)
        if not feed.any_up:
            return
        left = left - 1 if left is not None else None


def _report(model: TopModel, look: Look) -> Report:
    """For people as they want it, for programs always the same."""
    lines = batch_lines(model, look.group, look.sort, look=look)
    return Report(_NAMES, [_exact(row) for row in model.rows(DEFAULT.group)], lines)


def _exact(row: Row) -> tuple[Any, ...]:
    """A row's exact sums over its interval."""
    client, target, lun = row.key
    sums = row.counters
    moved = sums.reads, sums.writes, sums.read_bytes, sums.write_bytes
    latencies = [round(COLUMNS[name].value(row, 0.99)) for name in ("RAVG", "RP", "WAVG", "WP")]
    kept = round(row.average), row.p99, row.in_flight, sums.errors
    return client, target, int(lun), *moved, *kept, *latencies, sums.flushes, sums.unmaps
