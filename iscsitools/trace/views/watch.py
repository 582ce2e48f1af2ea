"""What a view is told to watch, when it has to stop, and where a file's intervals end."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from iscsitools.trace.client.source import Trace
from iscsitools.trace.record import SIZE, WHOLE
from iscsitools.trace.selection import Selection
from iscsitools.trace.views.clock import Clock


@dataclass(frozen=True, slots=True)
class WatchOptions:
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
    """What the user is told while a view runs. ``clock``: it is told when tracing began."""

    clock: Clock

    def started(self) -> None:
        """Tracing has begun."""

    def note(self, text: str) -> None:
        """A line that does not belong to the report: drops, a server that is gone."""


class EndRequest:
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


class Countdown:
    """Counts the reports down."""

    def __init__(self, source: WatchOptions) -> None:
        self._left = source.count if source.interval is not None else None

    def one(self) -> bool:
        """A report was made; returns whether it was the last one."""
        if self._left is not None:
            self._left -= 1
        return self._left == 0


class Cutter:
    """Cuts a file's blocks at the ends of intervals, by the records' own time from the first one on."""

    def __init__(self, interval: float | None) -> None:
        self._interval = int(interval * 1e9) if interval is not None else None
        self._first: int | None = None
        self._due = 0
        self.elapsed = 0
        """Nanoseconds from the first record to the end of the piece."""

    @property
    def first(self) -> int:
        """The time of the first record, on the records' own clock."""
        return self._first or 0

    @property
    def time(self) -> int:
        """The end of the piece on the records' own clock."""
        return self.first + self.elapsed

    def cut(self, trace: Trace) -> Iterator[tuple[bytes, bool]]:
        """Blocks, each with whether an interval ends after it."""
        while not trace.ended:
            block = trace.read_block()
            trace.take_strings()  # for who passes them on, which is nobody here
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
