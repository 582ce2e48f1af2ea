"""Where the views get their data: sums or events, of a running server or of a recorded file, in intervals.

Without an interval there is one piece, at the end: at Ctrl-C, at the end of the file, or when the server goes away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from iscsitools.probes.table import ALL_MASK, BY_LABEL
from iscsitools.trace.client.attach import Sums, attach
from iscsitools.trace.client.recording import FileTrace, open_file
from iscsitools.trace.client.replay import Replay
from iscsitools.trace.events import Event
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.record import decode
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.snapshot import Snapshot
from iscsitools.trace.views.watch import Countdown, Cutter, EndRequest, Listener, WatchOptions

_LOOK: Final = 1.0
"""Seconds between two looks at a server's sums: what is lost when the server dies."""
_POLL: Final = 0.1
"""Seconds after which a wait for events looks whether it has to stop."""
_BLOCKS_LEFT: Final = 8
"""Blocks that a full ring holds, about: a server that fires on does not keep the end from coming."""


class Batch(NamedTuple):
    """Events; the connections that were closed after them; and, at the end of an interval, the time then."""

    events: list[Event]
    closed: list[int]
    elapsed: int | None
    """Nanoseconds since tracing began; None: the interval goes on."""


def snapshots(
    source: WatchOptions,
    listener: Listener,
    stop: EndRequest,
    *,
    commands: bool = True,
    events: bool = False,
    histograms: Sequence[str] = (),
    busy: bool = False,
) -> Iterator[tuple[Snapshot, int]]:
    """The sums of each interval, with the nanoseconds since tracing began.

    ``histograms``: names of :mod:`iscsitools.trace.sums.declared`. Raises TraceError for a server that is older than
    one of them.
    """
    if source.read is not None:
        selection = source.selection(ALL_MASK)
        replay = Replay(selection, commands=commands, events=events, histograms=histograms, busy=busy)
        return _replayed(source.read, source, listener, stop, replay)
    ask = partial(Sums, commands=commands, events=events, histograms=histograms, busy=busy, **source.live())
    return _asked(source, listener, stop, ask, set(histograms))


def _asked(
    source: WatchOptions, listener: Listener, stop: EndRequest, ask: Callable[[], Sums], wanted: set[str]
) -> Iterator[tuple[Snapshot, int]]:
    with ask() as sums:
        if older := wanted - set(sums.kept):
            raise TraceError(f"the server is an older one: it keeps no distribution of {', '.join(sorted(older))}")
        listener.started()
        pieces = Countdown(source)
        latest = sums.snapshot()
        began = latest.since
        listener.clock.begins(sums.server, began)
        due = time.monotonic() + (source.interval or 0)
        while True:
            left = due - time.monotonic() if source.interval is not None else _LOOK
            stop.wait(min(left, _LOOK))
            ends = stop.asked or (source.interval is not None and time.monotonic() >= due)
            try:
                latest = sums.snapshot(reset=ends)
            except TraceError as error:
                listener.note(f"the server is gone: {error}")
                yield latest, latest.time - began
                return
            if ends:
                yield latest, latest.time - began
                if stop.asked or pieces.one():
                    return
                due += source.interval or 0
                latest = Snapshot(latest.time, latest.time, [], [])


def _replayed(
    file: Path, source: WatchOptions, listener: Listener, stop: EndRequest, replay: Replay
) -> Iterator[tuple[Snapshot, int]]:
    pieces = Countdown(source)
    with open_file(file) as trace:
        cutter = Cutter(source.interval)
        for block, ends in cutter.cut(trace):
            if stop.asked:
                break
            listener.clock.begins(trace.server, cutter.first)
            replay.feed(trace, block)
            if ends:
                yield replay.snapshot(reset=True, until=cutter.time), cutter.elapsed
                if pieces.one():
                    return
        replay.feed(trace, b"")  # what was told after the last event
        _say_end(trace, listener)
        yield replay.snapshot(), cutter.elapsed


def event_batches(source: WatchOptions, mask: int, listener: Listener, stop: EndRequest) -> Iterator[Batch]:
    """Events of the probes in ``mask``. The last batch always ends an interval."""
    if source.read is not None:
        return _events_of_file(source, mask, listener, stop)
    return _events_live(source, mask, listener, stop)


def _events_live(source: WatchOptions, mask: int, listener: Listener, stop: EndRequest) -> Iterator[Batch]:
    wanted = [label for label, probe in BY_LABEL.items() if mask >> probe & 1]
    pieces = Countdown(source)
    with attach(probes=wanted, **source.live()) as trace:
        listener.started()
        began = time.monotonic()
        listener.clock.begins(trace.server, int(began * 1e9))
        due = began + (source.interval or 0)
        drops = _Drops(listener)
        while not trace.ended and not stop.asked:
            left = due - time.monotonic() if source.interval is not None else _POLL
            events = trace.poll(max(min(left, _POLL), 0))
            drops.tell(trace.drops)
            ends = source.interval is not None and time.monotonic() >= due
            yield Batch(events, trace.take_closed(), int((time.monotonic() - began) * 1e9) if ends else None)
            if ends:
                due += source.interval or 0
                if pieces.one():
                    return
        if trace.ended and not stop.asked:
            listener.note(trace.note or "the server is gone")
        # What was in the ring when the signal came belongs to the report, too.
        for _ in range(_BLOCKS_LEFT):
            yield Batch(trace.poll(0), trace.take_closed(), None)
        drops.tell(trace.drops)
        yield Batch([], [], int((time.monotonic() - began) * 1e9))


class _Drops:
    """Tells the user of events that were lost, as they are."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._told = 0

    def tell(self, drops: int) -> None:
        """``drops``: how many were lost so far."""
        if drops != self._told:
            self._listener.note(f"{drops - self._told} drops")
            self._told = drops


def _events_of_file(source: WatchOptions, mask: int, listener: Listener, stop: EndRequest) -> Iterator[Batch]:
    assert source.read is not None
    selection = source.selection(mask)
    pieces = Countdown(source)
    with open_file(source.read) as trace:
        cutter = Cutter(source.interval)
        for block, ends in cutter.cut(trace):
            if stop.asked:
                break
            listener.clock.begins(trace.server, cutter.first)
            events = [event for event in decode(block, trace.names) if passes(selection, event)]
            yield Batch(events, trace.take_closed(), cutter.elapsed if ends else None)
            if ends and pieces.one():
                return
        _say_end(trace, listener)
        yield Batch([], trace.take_closed(), cutter.elapsed)


def passes(selection: Selection, event: Event) -> bool:
    """What the server does for a live trace: whether this event is wanted."""
    if not selection.effective_mask >> event.probe & 1 or not selection.admits(event.conn):
        return False
    return selection.lun is None or selection.lun == event.info.lun


def _say_end(trace: FileTrace, listener: Listener) -> None:
    if trace.drops:
        listener.note(f"{trace.drops} drops")
    if trace.note:
        listener.note(trace.note)
