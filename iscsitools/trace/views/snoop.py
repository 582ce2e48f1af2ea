"""``snoop``: one line per event, or the commands that took long or failed, each with its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from iscsitools.probes import sites
from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.events import Event
from iscsitools.trace.selection import address_of
from iscsitools.trace.views.command import Command
from iscsitools.trace.views.commands import CommandTracker
from iscsitools.trace.views.details import command_text, detail_of, status_text
from iscsitools.trace.views.narrow import HEADER, narrow_line
from iscsitools.trace.views.over_time import COMMAND_MASK
from iscsitools.trace.views.report import Record, Report, lun_text
from iscsitools.trace.views.width import sentence


class SnoopView:
    """Every event, in the order in which the probes fired."""

    mask = ALL_MASK

    def __init__(self, wide: bool = False) -> None:
        self._wide = wide
        self._start: int | None = None

    @property
    def heading(self) -> str | None:
        """The line above the first event; none with all fields, which are named on each line."""
        return None if self._wide else HEADER

    def reports(self, event: Event) -> Iterator[Report]:
        """The report of this one event."""
        if self._start is None:
            self._start = event.time
        seconds = (event.time - self._start) / 1e9
        line = _wide_line(event, seconds) if self._wide else narrow_line(event, seconds)
        yield Report([event_record(event, seconds)], [line])

    def closed(self, ident: int) -> Sequence[Report]:
        """A connection is no more, which is no event."""
        return ()


def _wide_line(event: Event, seconds: float) -> str:
    pairs = ((name, str(value)) for name, value in event_record(event, seconds).items())
    return " ".join(f'{name}="{value}"' if " " in value else f"{name}={value}" for name, value in pairs if value)


def event_record(event: Event, seconds: float) -> Record:
    """All fields of an event, tags in hexadecimal as tools print them; absent ones are ""."""
    conn, info, xfer = event.conn, event.info, event.xfer
    record: dict[str, Any] = {
        "time": f"{seconds:.9f}",
        "event": event.probe.label,
        "remote": conn.remote,
        "local": conn.local,
        "protocol": conn.protocol,
        "initiator": conn.initiator,
        "target": conn.target,
        "isid": conn.isid,
        "tsih": conn.tsih,
        "transport": conn.transport,
        "lun": info.lun,
        "itt": f"0x{info.itt:08x}",
        "ttt": f"0x{info.ttt:08x}",
        "cmdsn": info.cmdsn,
        "statsn": info.statsn,
        "datasn": info.datasn,
        "datalen": info.datalen,
        "flags": f"0x{info.flags:02x}",
        "cdb_length": event.cdb_length or "",
        "cdb": event.cdb.hex(),
        "sense": f"0x{event.sense:06x}" if event.sense else "",
    }
    names = ("loffset", "length", "type", "laddr")
    for name in names:
        record[f"xfer_{name}"] = getattr(xfer, name) if xfer is not None else ""
    return record | {"sequence": event.sequence, "detail": detail_of(event, wide=True)}


class SlowView:
    """Only the commands that took at least ``slower`` nanoseconds, or, with ``errors``, that failed."""

    mask = COMMAND_MASK | sites.DATA_RECEIVE | sites.DATA_REQUEST | sites.XFER_START | sites.XFER_DONE

    def __init__(self, slower: int | None, errors: bool, wide: bool = False) -> None:
        self._slower = slower
        self._errors = errors
        self._wide = wide
        self._tracker = CommandTracker(keep_events=True, settle=True)
        self._start: int | None = None

    @property
    def heading(self) -> str | None:
        """None: each command has a line above its events."""
        return None

    def reports(self, event: Event) -> Iterator[Report]:
        """The reports of the commands that this event ended, of those that are wanted."""
        if self._start is None:
            self._start = event.time
        yield from self._wanted(self._tracker.feed(event))

    def closed(self, ident: int) -> Iterator[Report]:
        """The reports of the commands that ended with this connection, of those that are wanted."""
        yield from self._wanted(self._tracker.closed(ident))

    def _wanted(self, ended: Sequence[Command]) -> Iterator[Report]:
        return (self._report(command, self._start or 0) for command in ended if self._wants(command))

    def _wants(self, command: Command) -> bool:
        slow = self._slower is not None and command.total >= self._slower
        return slow or (self._errors and command.failed)

    def _report(self, command: Command, start: int) -> Report:
        took = command.total / 1e6
        result = "aborted" if command.aborted else status_text(command.status, command.sense, wide=True)
        if command.response:
            result = f"response {command.response:02x}h"
        where = f"{address_of(command.conn.remote)} LUN {lun_text(command.lun)}"
        lines = sentence(f"{command_text(command.cdb)} from {where} took {took:.3f} ms") + sentence(result, "  ")
        for event in command.events:
            seconds = (event.time - start) / 1e9
            lines.append(_wide_line(event, seconds) if self._wide else narrow_line(event, seconds))
        record = {
            "client": address_of(command.conn.remote),
            "target": command.conn.target,
            "lun": command.lun,
            "itt": f"0x{command.itt:08x}",
            "command": command_text(command.cdb),
            "took_ns": command.total,
            "result": result,
            "events": [event_record(event, (event.time - start) / 1e9) for event in command.events],
        }
        return Report([record], [*lines, ""])
