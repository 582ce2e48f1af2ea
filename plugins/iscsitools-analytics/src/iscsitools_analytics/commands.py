"""The commands of the last minutes, each with its events, for who asks which ones made a point of a heat map.

Off unless asked for: it costs the target what ``iscsitools record`` costs, and this process the decoding of each event.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from iscsitools import trace
from iscsitools.probes.lun import lun_text
from iscsitools.trace.names import ServerEntry
from iscsitools.trace.selection import address_of
from iscsitools.trace.views.cmds import failure_text
from iscsitools.trace.views.command_tracker import CommandTracker
from iscsitools.trace.views.event_details import detail_of
from iscsitools.trace.views.observed_command import ObservedCommand
from iscsitools.wire.operations import extent_of, name_of

from iscsitools_analytics.question import Question
from iscsitools_analytics.series import Series

log = logging.getLogger(__name__)

MOST: Final = 100_000
"""Commands that are kept; some 2 kB each with their events."""
_SHOWN: Final = 200
_SECOND: Final = 1_000_000_000
_POLL: Final = 0.2
_MOST_EVENTS: Final = 64
"""Events of one command that are shown."""
VALUES: Final = ("latencies", "sizes", "places")
"""The heat maps of which a command's own value is known."""


class Kept(NamedTuple):
    """A command that has ended: ``end`` in nanoseconds since 1970."""

    end: int
    series: Series
    command: ObservedCommand


class Buffer:
    """Commands of the last ``seconds``, of all servers; 0: all that were put in, which is for recordings."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._kept: deque[Kept] = deque(maxlen=MOST)
        self.drops = 0
        """Events that this process was too slow for."""

    def put(self, ended: Iterable[Kept]) -> None:
        """Keep commands, in order of their ends."""
        with self._lock:
            self._kept.extend(ended)
            if self.seconds and self._kept:
                oldest = self._kept[-1].end - self.seconds * _SECOND
                while self._kept[0].end < oldest:
                    self._kept.popleft()

    def find(self, question: Question, begin: int, end: int, low: int, high: int) -> dict[str, Any]:
        """The commands that ended in a span of seconds, with a value from ``low`` to less than ``high``.

        The value is the one of the question's heat map, or the latency. The longest are shown first.
        """
        with self._lock:
            kept = list(self._kept)
        found = [
            each
            for each in kept
            if begin * _SECOND <= each.end < end * _SECOND
            and question.admits(each.series)
            and each.command.latency >= question.over
            and low <= _value(question.name, each.command) < high
        ]
        found.sort(key=lambda each: each.command.latency, reverse=True)
        oldest = kept[0].end / _SECOND if kept else None
        return {
            "found": len(found),
            "since": oldest,
            "drops": self.drops,
            "commands": [_told(each) for each in found[:_SHOWN]],
        }


def kept_of(server: str, command: ObservedCommand, offset: int) -> Kept:
    """A command that has ended; ``offset`` makes nanoseconds since 1970 of the server's clock."""
    conn = command.conn
    lun = f"{conn.target}/{lun_text(command.lun)}"
    series = Series(server, address_of(conn.remote), conn.initiator, conn.target, lun, name_of(command.cdb))
    return Kept(command.end + offset, series, command)


def _value(metric: str, command: ObservedCommand) -> int:
    match metric:
        case "sizes":
            return max(command.data_in, command.data_out)
        case "places":
            extent = extent_of(command.cdb)
            return extent.lba if extent is not None else -1
    return command.latency


def _told(kept: Kept) -> dict[str, Any]:
    command = kept.command
    extent = extent_of(command.cdb)
    outcome = (command.response << 8 | command.status) << 24 | command.sense
    return {
        "end": kept.end / _SECOND,
        **kept.series._asdict(),
        "remote": command.conn.remote,
        "lba": extent.lba if extent is not None else None,
        "blocks": extent.blocks if extent is not None else None,
        "latency": command.latency,
        "backstore": command.backstore,
        "waiting": command.waiting,
        "sending": command.sending,
        "result": "aborted" if command.aborted else failure_text(outcome) if command.failed else "GOOD",
        "cdb": command.cdb.hex(),
        "events": [
            [event.time - command.start, event.probe.label, detail_of(event)] for event in command.events[:_MOST_EVENTS]
        ],
    }


class Follower:
    """Reads one server's events into a buffer until it ends; a thread of its own."""

    def __init__(self, entry: ServerEntry, buffer: Buffer, stopping: threading.Event) -> None:
        self._entry = entry
        self._buffer = buffer
        self._stopping = stopping
        self.thread = threading.Thread(target=self._run, name=f"follow {entry.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            with trace.attach(socket=self._entry.paths.watch) as events:
                self._follow(events)
        except trace.TraceError as error:
            if not self._stopping.is_set():
                log.info("%s: its commands are no longer kept: %s", self._entry.name, error)

    def _follow(self, events: trace.Trace) -> None:
        tracker = CommandTracker(keep_events=True, settle=True)
        offset = events.server["realtime"] - events.server["monotonic"]
        drops = 0
        while not events.ended and not self._stopping.is_set():
            ended: list[ObservedCommand] = []
            for event in events.poll(_POLL):
                ended += tracker.feed(event)
            for ident in events.take_closed():
                ended += tracker.closed(ident)
            self._buffer.put(kept_of(self._entry.name, command, offset) for command in ended)
            self._buffer.drops += events.drops - drops
            drops = events.drops
