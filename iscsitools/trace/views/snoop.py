"""``snoop``: one line per event, or the commands that took long or failed, each with its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from iscsitools.probes import firing
from iscsitools.probes.lun import lun_text
from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.events import Event
from iscsitools.trace.selection import address_of
from iscsitools.trace.views.clock import Clock, Times
from iscsitools.trace.views.command_tracker import CommandTracker
from iscsitools.trace.views.event_details import command_text, detail_of, status_text
from iscsitools.trace.views.observed_command import ObservedCommand
from iscsitools.trace.views.over_time import COMMAND_MASK
from iscsitools.trace.views.report import Record, Report
from iscsitools.trace.views.snoop_line import HEADER, HEADER_OF_DAY, narrow_line, time_text
from iscsitools.trace.views.width import sentence

EVENT_NAMES: Final = (
    "time", "clock", "event",
    "remote", "local", "protocol", "initiator", "target", "isid", "tsih", "transport",
    "lun", "itt", "ttt", "cmdsn", "statsn", "datasn", "datalen",
    "flags", "cdb_length", "cdb", "sense",
    "xfer_loffset", "xfer_length", "xfer_type", "xfer_laddr",
    "sequence", "detail",
)  # fmt: skip
"""All fields of an event."""
_COMMAND_NAMES: Final = ("client", "target", "lun", "itt", "command", "took_ns", "result", "events")


class SnoopView:
    """Every event, in the order in which the probes fired."""

    mask = ALL_MASK
    names = EVENT_NAMES

    def __init__(self, wide: bool = False, clock: Clock | None = None) -> None:
        """``clock``: says times of day, once it knows them; without one there are seconds since the first event."""
        self._lines = _Lines(wide, clock or Clock(Times.RELATIVE))

    @property
    def heading(self) -> str | None:
        """The line above the first event; none with all fields, which are named on each line."""
        return self._lines.heading

    def reports(self, event: Event) -> Iterator[Report]:
        """The report of this one event."""
        self._lines.first(event)
        yield Report(self.names, [self._lines.values(event)], [self._lines.line(event)])

    def closed(self, ident: int) -> Sequence[Report]:
        """A connection is no more, which is no event."""
        return ()


class _Lines:
    """How events are written: on how long a line, and with which times."""

    def __init__(self, wide: bool, clock: Clock) -> None:
        self._wide = wide
        self._clock = clock
        self._start: int | None = None

    @property
    def heading(self) -> str | None:
        if self._wide:
            return None
        return HEADER_OF_DAY if self._clock.of_day else HEADER

    def first(self, event: Event) -> None:
        """Seconds count from the first of these events on."""
        if self._start is None:
            self._start = event.time

    def _seconds(self, event: Event) -> float:
        return (event.time - (self._start or 0)) / 1e9

    def line(self, event: Event) -> str:
        if self._wide:
            pairs = ((name, str(value)) for name, value in self.record(event).items())
            return " ".join(
                f'{name}="{value}"' if " " in value else f"{name}={value}" for name, value in pairs if value
            )
        when = self._clock.of_event(event.time) if self._clock.of_day else time_text(self._seconds(event))
        return narrow_line(event, when)

    def record(self, event: Event) -> Record:
        """All fields of an event."""
        return dict(zip(EVENT_NAMES, self.values(event), strict=True))

    def values(self, event: Event) -> tuple[Any, ...]:
        """The values for :data:`EVENT_NAMES`."""
        return _event_values(event, f"{self._seconds(event):.9f}", self._clock.exact(event.time))


def _event_values(event: Event, seconds: str, clock: str) -> tuple[Any, ...]:
    """The values for :data:`EVENT_NAMES`, tags in hexadecimal as tools print them; absent ones are ""."""
    conn, info, xfer = event.conn, event.info, event.xfer
    return (
        seconds, clock, event.probe.label,
        conn.remote, conn.local, conn.protocol, conn.initiator, conn.target, conn.isid, conn.tsih, conn.transport,
        info.lun, f"0x{info.itt:08x}", f"0x{info.ttt:08x}", info.cmdsn, info.statsn, info.datasn, info.datalen,
        f"0x{info.flags:02x}", event.cdb_length or "", event.cdb.hex(), f"0x{event.sense:06x}" if event.sense else "",
        *((xfer.loffset, xfer.length, xfer.type, xfer.laddr) if xfer is not None else ("",) * 4),
        event.sequence, detail_of(event, wide=True),
    )  # fmt: skip


class SlowView:
    """Only the commands that took at least ``slower`` nanoseconds, or, with ``errors``, that failed."""

    mask = COMMAND_MASK | firing.DATA_RECEIVE | firing.DATA_REQUEST | firing.XFER_START | firing.XFER_DONE
    names = _COMMAND_NAMES

    def __init__(self, slower: int | None, errors: bool, wide: bool = False, clock: Clock | None = None) -> None:
        """``clock``: as for :class:`SnoopView`."""
        self._slower = slower
        self._errors = errors
        self._lines = _Lines(wide, clock or Clock(Times.RELATIVE))
        self._tracker = CommandTracker(keep_events=True, settle=True)

    @property
    def heading(self) -> str | None:
        """None: each command has a line above its events."""
        return None

    def reports(self, event: Event) -> Iterator[Report]:
        """The reports of the commands that this event ended, of those that are wanted."""
        self._lines.first(event)
        yield from self._wanted(self._tracker.feed(event))

    def closed(self, ident: int) -> Iterator[Report]:
        """The reports of the commands that ended with this connection, of those that are wanted."""
        yield from self._wanted(self._tracker.closed(ident))

    def _wanted(self, ended: Sequence[ObservedCommand]) -> Iterator[Report]:
        return (self._report(command) for command in ended if self._wants(command))

    def _wants(self, command: ObservedCommand) -> bool:
        slow = self._slower is not None and command.total >= self._slower
        return slow or (self._errors and command.failed)

    def _report(self, command: ObservedCommand) -> Report:
        took = command.total / 1e6
        result = "aborted" if command.aborted else status_text(command.status, command.sense, wide=True)
        if command.response:
            result = f"response {command.response:02x}h"
        where = f"{address_of(command.conn.remote)} LUN {lun_text(command.lun)}"
        lines = sentence(f"{command_text(command.cdb)} from {where} took {took:.3f} ms") + sentence(result, "  ")
        lines += [self._lines.line(event) for event in command.events]
        events = [self._lines.record(event) for event in command.events]
        row = (
            address_of(command.conn.remote), command.conn.target, command.lun, f"0x{command.itt:08x}",
            command_text(command.cdb), command.total, result, events,
        )  # fmt: skip
        return Report(self.names, [row], [*lines, ""])
