"""Where the views get their data: sums or events, of a running server or of a recorded file, in intervals.

Without an interval there is one piece, at the end: at Ctrl-C, at the end of the file, or when the server goes away.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Protocol, Self

from iscsitools.probes.table import BY_LABEL
from iscsitools.trace.client import Sums, attach
from iscsitools.trace.events import Event
from iscsitools.trace.file import FileTrace, open_file
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.record import SIZE, WHOLE, decode
from iscsitools.trace.replay import Replay
from iscsitools.trace.selection import Selection
from iscsitools.trace.snapshot import Snapshot
from iscsitools.trace.source import Trace

_LOOK: Final = 1.0
"""Seconds between two looks at a server's sums: what is lost when the server dies."""
_POLL: Final = 0.1
"""Seconds after which a wait for events looks whether it has to stop."""
_BLOCKS_LEFT: Final = 8
"""Blocks that a full ring holds, about: a server that fires on does not keep the end from coming."""


@dataclass(frozen=True, slots=True)
class Source:
    """What to watch: a running server (``name`` or ``socket``, or the only one), or the recorded file ``read``."""

    name: str | None = None
    socket: str | None = None
    read: Path | None = None
    client: str | None = None
    target: str | None = None
    lun: int | None = None
    interval: float | None = None
    """Seconds."""
    count: int | None = None
    """Reports; None: no limit."""

    def selection(self, mask: int) -> Selection:
        """The filter, for these probes."""
        return Selection(mask, self.client, self.target, self.lun)

    def live(self) -> dict[str, Any]:
        """The arguments of ``attach`` and ``Sums``."""
        return {
            "name": self.name,
            "socket": self.socket,
            "client": self.client,
            "target": self.target,
            "lun": self.lun,
        }


class Listener(Protocol):
    """What the user is told while a view runs."""

    def started(self) -> None:
        """Tracing has begun."""

    def note(self, text: str) -> None:
        """A line that does not belong to the report: drops, a server that is gone."""


class Stop:
    """In a ``with`` statement: SIGINT and SIGTERM ask for the end instead of raising; a second one does what it did."""

    def __init__(self) -> None:
        self.asked = False
        self._read, self._write = os.pipe()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, self._before[number])
        os.write(self._write, b"x")

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond the request to end."""
        if not self.asked:
            select.select([self._read], [], [], max(seconds, 0))


class _Pieces:
    """Counts the reports down."""

    def __init__(self, source: Source) -> None:
        self._left = source.count if source.interval is not None else None

    def one(self) -> bool:
        """A report was made; returns whether it was the last one."""
        if self._left is not None:
            self._left -= 1
        return self._left == 0


def snapshots(
    source: Source, listener: Listener, stop: Stop, *, commands: bool = True, events: bool = False
) -> Iterator[tuple[Snapshot, int]]:
    """The sums of each interval, with the nanoseconds since tracing began."""
    if source.read is not None:
        return _replayed(source, listener, stop, commands, events)
    return _asked(source, listener, stop, commands, events)


def _asked(
    source: Source, listener: Listener, stop: Stop, commands: bool, events: bool
) -> Iterator[tuple[Snapshot, int]]:
    with Sums(commands=commands, events=events, **source.live()) as sums:
        listener.started()
        pieces = _Pieces(source)
        latest = sums.snapshot()
        began = latest.since
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
    source: Source, listener: Listener, stop: Stop, commands: bool, events: bool
) -> Iterator[tuple[Snapshot, int]]:
    assert source.read is not None
    replay = Replay(source.selection(_ALL), commands=commands, events=events)
    pieces = _Pieces(source)
    with open_file(source.read) as trace:
        cutter = _Cutter(source.interval)
        for block, ends in cutter.cut(trace):
            if stop.asked:
                break
            replay.feed(trace, block)
            if ends:
                yield replay.snapshot(reset=True), cutter.elapsed
                if pieces.one():
                    return
        _say_end(trace, listener)
        yield replay.snapshot(), cutter.elapsed


_ALL: Final = sum(1 << probe for probe in BY_LABEL.values())


class _Cutter:
    """Cuts a file's blocks at the ends of intervals, by the records' own time from the first one on."""

    def __init__(self, interval: float | None) -> None:
        self._interval = int(interval * 1e9) if interval is not None else None
        self._first: int | None = None
        self._due = 0
        self.elapsed = 0
        """Nanoseconds from the first record to the end of the piece."""

    def cut(self, trace: Trace) -> Iterator[tuple[bytes, bool]]:
        """Blocks, each with whether an interval ends after it."""
        while not trace.ended:
            block = trace.read_block()
            if not block:
                continue
            yield from self._cut_block(block)

    def _cut_block(self, block: bytes) -> Iterator[tuple[bytes, bool]]:
        begin = 0
        for place, record in enumerate(WHOLE.iter_unpack(block)):
            when = record[1]
            if self._first is None:
                self._first = when
                self._due = when + (self._interval or 0)
            while self._interval is not None and when >= self._due:
                self.elapsed = self._due - self._first
                yield block[begin * SIZE : place * SIZE], True
                begin = place
                self._due += self._interval
            self.elapsed = when - self._first
        yield block[begin * SIZE :], False


def event_batches(
    source: Source, mask: int, listener: Listener, stop: Stop
) -> Iterator[tuple[list[Event], int | None]]:
    """Events of the probes in ``mask``; with an interval's last ones the nanoseconds since tracing began, else None.

    The last batch always ends a piece.
    """
    if source.read is not None:
        return _events_of_file(source, mask, listener, stop)
    return _events_live(source, mask, listener, stop)


def _events_live(source: Source, mask: int, listener: Listener, stop: Stop) -> Iterator[tuple[list[Event], int | None]]:
    wanted = [label for label, probe in BY_LABEL.items() if mask >> probe & 1]
    pieces = _Pieces(source)
    with attach(probes=wanted, **source.live()) as trace:
        listener.started()
        began = time.monotonic()
        due = began + (source.interval or 0)
        drops = 0
        while not trace.ended and not stop.asked:
            left = due - time.monotonic() if source.interval is not None else _POLL
            batch = trace.poll(max(min(left, _POLL), 0))
            if trace.drops != drops:
                listener.note(f"{trace.drops - drops} drops")
                drops = trace.drops
            ends = source.interval is not None and time.monotonic() >= due
            yield batch, int((time.monotonic() - began) * 1e9) if ends else None
            if ends:
                due += source.interval or 0
                if pieces.one():
                    return
        if trace.ended and not stop.asked:
            listener.note(trace.note or "the server is gone")
        # What was in the ring when the signal came belongs to the report, too.
        rest = [event for _ in range(_BLOCKS_LEFT) for event in trace.poll(0)]
        yield rest, int((time.monotonic() - began) * 1e9)


def _events_of_file(
    source: Source, mask: int, listener: Listener, stop: Stop
) -> Iterator[tuple[list[Event], int | None]]:
    assert source.read is not None
    selection = source.selection(mask)
    pieces = _Pieces(source)
    with open_file(source.read) as trace:
        cutter = _Cutter(source.interval)
        for block, ends in cutter.cut(trace):
            if stop.asked:
                break
            events = [event for event in decode(block, trace.names) if passes(selection, event)]
            yield events, cutter.elapsed if ends else None
            if ends and pieces.one():
                return
        _say_end(trace, listener)
        yield [], cutter.elapsed


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
