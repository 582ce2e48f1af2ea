"""The sums as a reader gets them: rows of counters by connection, LUN and command, and event counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.events import ConnectionStrings
from iscsitools.trace.protocol import encode_list
from iscsitools.trace.sums.buckets import Distribution
from iscsitools.trace.sums.busy import Scope
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.counts import EventCounts
from iscsitools.trace.sums.declared import Histogram

STRINGS: Final = ("ident", "local", "remote", "protocol", "target", "initiator", "isid", "tsih", "transport")


def strings_of(info: ConnectionInfo) -> ConnectionStrings:
    """Copy the strings of a connection as they are now."""
    return ConnectionStrings(*(getattr(info, name) for name in STRINGS))


@dataclass(slots=True)
class CommandRow:
    """What happened for one connection, LUN and command since the sums began or were read with reset."""

    conn: ConnectionStrings
    lun: int
    opcode: int | None
    """None: data of commands whose SCSI Command PDU was before the sums began."""
    service_action: int | None
    reads: bool
    """The R flag of the command (RFC 7143 11.3.1)."""
    writes: bool
    """The W flag."""
    commands: int
    """SCSI Command PDUs received."""
    ended: int
    """Commands that ended with GOOD or CONDITION MET; those whose latency counts."""
    latency: int
    """Sum of their latencies, nanoseconds."""
    maximum: int
    """The longest of them."""
    failed: int
    """Commands that ended in any other way."""
    in_pdus: int
    """Data-In PDUs, as iscsiio counts reads."""
    in_bytes: int
    out_pdus: int
    """Data-Out PDUs, and SCSI Command PDUs with immediate data, as iscsiio counts writes."""
    out_bytes: int
    histogram: dict[int, int] = field(default_factory=dict)
    """Latencies by bucket of :mod:`iscsitools.trace.sums.histogram`."""
    errors: dict[int, int] = field(default_factory=dict)
    """Failures by (iSCSI response << 8 | SCSI status) << 24 | sense key << 16 | ASC << 8 | ASCQ."""
    histograms: dict[str, Distribution] = field(default_factory=dict)
    """Those that were asked for, by their names in :mod:`iscsitools.trace.sums.declared`."""


_COUNTERS: Final = tuple(CommandRow.__slots__[1:-3])
"""The numbers of a row, in their order."""


@dataclass(slots=True)
class EventRow:
    """How often each probe fired for one connection; probes that did not are left out."""

    conn: ConnectionStrings
    counts: dict[Probe, int]


@dataclass(slots=True)
class Snapshot:
    """The sums at one time. ``since`` and ``time``: nanoseconds of the server's monotonic clock."""

    since: int
    time: int
    commands: list[CommandRow]
    events: list[EventRow]
    lost: int = 0
    """Rows of closed connections that the server gave up because nobody read them."""
    busy: dict[Scope, int] | None = None
    """Nanoseconds in which something was under way, by whose it was; None: that was not kept."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """The server's status at that time; of a recording what it has of it, and what was under way by its events."""

    def to_json(self) -> dict[str, Any]:
        """As the reply to ``snapshot`` carries it."""
        conns = {row.conn.ident: row.conn for row in self.commands}
        conns.update((row.conn.ident, row.conn) for row in self.events)
        return {
            "since": self.since,
            "time": self.time,
            "lost": self.lost,
            "connections": [asdict(conn) for conn in conns.values()],
            "commands": [_row_to_json(row) for row in self.commands],
            "events": [_counts_to_json(row) for row in self.events],
            **({} if self.busy is None else {"busy": _busy_to_json(self.busy)}),
        }

    def to_parts(self) -> Iterator[bytes]:
        """The line that :meth:`to_json` makes, in parts of a row each, for who has other things to do between."""
        conns = {row.conn.ident: row.conn for row in self.commands}
        conns.update((row.conn.ident, row.conn) for row in self.events)
        yield b'{"since":%d,"time":%d,"lost":%d,"connections":' % (self.since, self.time, self.lost)
        yield from encode_list(map(asdict, conns.values()))
        yield b',"commands":'
        yield from encode_list(map(_row_to_json, self.commands))
        yield b',"events":'
        yield from encode_list(_counts_to_json(row) for row in self.events)
        if self.busy is not None:
            yield b',"busy":'
            yield from encode_list(_busy_to_json(self.busy))
        yield b"}"

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Snapshot:
        """Read a reply."""
        conns = {c["ident"]: ConnectionStrings(**c) for c in fields["connections"]}
        labels = {p.label: p for p in Probe}
        return cls(
            fields["since"],
            fields["time"],
            [_row_from_json(conns, row) for row in fields["commands"]],
            [EventRow(conns[i], {labels[p]: n for p, n in counts.items()}) for i, counts in fields["events"]],
            fields["lost"],
            {Scope(*entry[:3]): entry[3] for entry in fields["busy"]} if "busy" in fields else None,
        )


def _counts_to_json(row: EventRow) -> list[Any]:
    return [row.conn.ident, {p.label: n for p, n in row.counts.items()}]


def _busy_to_json(busy: Mapping[Scope, int]) -> list[Any]:
    return [[*scope, time] for scope, time in busy.items()]


def _row_to_json(row: CommandRow) -> list[Any]:
    fields = [getattr(row, name) for name in _COUNTERS]
    cells = [row.conn.ident, *fields, list(row.histogram.items()), list(row.errors.items())]
    if row.histograms:
        cells.append({name: [d.width, list(d.counts.items())] for name, d in row.histograms.items()})
    return cells


def _row_from_json(conns: dict[int, ConnectionStrings], fields: list[Any]) -> CommandRow:
    end = len(_COUNTERS) + 1
    latencies, errors, *more = fields[end:]
    told = more[0] if more else {}
    histograms = {name: Distribution(width, dict(counts)) for name, (width, counts) in told.items()}
    values: list[Any] = [conns[fields[0]], *fields[1:end], dict(latencies), dict(errors), histograms]
    return CommandRow(*values)


class Readable(Protocol):
    """Sums to be read: kept here or in C, of one reader or shared."""

    @property
    def histograms(self) -> Sequence[Histogram]:
        """What is kept beside the latencies."""

    @property
    def lost(self) -> int:
        """Rows that were given up because nobody read them."""

    def read(self, reset: bool = False) -> list[tuple[ConnectionInfo, Cell]]:
        """The rows that counted anything; with ``reset`` they begin again from 0 in the same moment."""

    def busy(self, reset: bool = False) -> dict[Scope, int] | None:
        """How long something was under way, at that time; None: that is not kept."""


def take(since: int, now: int, sums: Readable | None, counts: EventCounts | None, reset: bool) -> Snapshot:
    """Read sums and counts, either of which may be missing; with ``reset`` they begin again from 0."""
    commands = command_rows(sums.read(reset), sums.histograms) if sums else []
    busy = sums.busy(reset) if sums else None
    events = (
        [EventRow(strings_of(info), {p: row[p] for p in Probe if row[p]}) for info, row in counts.read()]
        if counts
        else []
    )
    if reset and counts is not None:
        counts.reset()
    lost = (sums.lost if sums else 0) + (counts.lost if counts else 0)
    return Snapshot(since, now, commands, events, lost, busy)


def command_rows(cells: Iterable[tuple[ConnectionInfo, Cell]], kept: Sequence[Histogram]) -> list[CommandRow]:
    """What was read, as others have it."""
    return [_command_row(info, cell, kept) for info, cell in cells]


def _command_row(info: ConnectionInfo, cell: Cell, kept: Sequence[Histogram]) -> CommandRow:
    counters: list[Any] = [getattr(cell, name) for name in _COUNTERS]
    more = {declared.name: buckets.read() for declared, buckets in zip(kept, cell.histograms, strict=True)}
    values: list[Any] = [strings_of(info), *counters, dict(cell.histogram), dict(cell.errors), more]
    return CommandRow(*values)
