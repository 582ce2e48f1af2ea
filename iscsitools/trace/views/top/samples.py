"""Samples for ``top``: a server's sums and status, again and again, across its restarts."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final, NamedTuple

from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.client.attach import Sums
from iscsitools.trace.names import servers
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.selection import Selection, address_of
from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.top.model import Counters, Cpu, RowKey, Sample
from iscsitools.trace.views.watch import WatchOptions

_FLUSHES: Final = frozenset({0x35, 0x91})
"""SYNCHRONIZE CACHE(10) and (16)."""
_UNMAP: Final = 0x42
_LOOK: Final = 2.0
"""Seconds between two looks for servers: each look knocks at every socket."""


class _Client(NamedTuple):
    """Of whom the server says how much is under way."""

    remote: str
    target: str
    initiator: str


def sample_of(server: str, snapshot: Snapshot, selection: Selection) -> Sample:
    """A sample of a snapshot that was read with reset.

    Of the server's status, which knows no filter, it takes ``sessions`` (how many), ``cpu`` (seconds) at ``time``, and
    those of ``in_flight`` (a list of connection, LUN and number of commands) that ``selection`` admits.
    """
    status = snapshot.status
    rows: dict[RowKey, Counters] = {}
    keys: dict[int, tuple[str, str, str]] = {}
    for row in snapshot.commands:
        conn = row.conn
        whose = keys.get(conn.ident) or (address_of(conn.remote), conn.target, _session(conn.initiator, conn.tsih))
        keys[conn.ident] = whose
        client, target, session = whose
        counters = rows.setdefault(RowKey(server, client, target, row.lun, session), Counters())
        counters.add(_counters(row))
    # A server that is older than that field does not say which session's they are.
    sessions = {row.conn.remote: _session(row.conn.initiator, row.conn.tsih) for row in snapshot.commands}
    in_flight: dict[RowKey, int] = {}
    for entry in status.get("in_flight", ()):
        whose = _Client(entry["remote"], entry["target"], entry["initiator"])
        if selection.admits(whose) and selection.lun in (None, entry["lun"]):
            told = _session(whose.initiator, entry["tsih"]) if "tsih" in entry else ""
            session = told or sessions.get(whose.remote, "")
            key = RowKey(server, address_of(whose.remote), whose.target, entry["lun"], session)
            in_flight[key] = in_flight.get(key, 0) + entry["commands"]
    drops = snapshot.lost + status.get("recorded_drops", 0)
    faulty = frozenset((unit["target"], unit["lun"]) for unit in status.get("faulty", ()))
    return Sample(
        snapshot.since, snapshot.time, rows, in_flight, status.get("sessions"), _cpu(snapshot), drops, faulty,
        busy=snapshot.busy,
    )  # fmt: skip


def _cpu(snapshot: Snapshot) -> Cpu | None:
    status = snapshot.status
    return Cpu(status["time"], status["cpu"]) if "time" in status and "cpu" in status else None


def _session(initiator: str, tsih: str) -> str:
    return f"{initiator} {tsih}" if tsih else ""


def _counters(row: CommandRow) -> Counters:
    """What a row of the sums adds to that of its client, target and unit. One that reads and writes is a write."""
    counters = Counters(
        read_bytes=row.in_bytes, write_bytes=row.out_bytes, timed=row.ended, latency=row.latency, errors=row.failed,
        histogram=row.histogram,
    )  # fmt: skip
    if row.writes:
        counters.writes, counters.write_timed, counters.write_latency = row.commands, row.ended, row.latency
        counters.write_histogram = row.histogram
    elif row.reads:
        counters.reads, counters.read_timed, counters.read_latency = row.commands, row.ended, row.latency
        counters.read_histogram = row.histogram
    if row.reads or row.writes:
        for name in PHASES:
            if name in row.histograms:
                setattr(counters, f"{name}_histogram", row.histograms[name].counts)
    counters.flushes = row.commands if row.opcode in _FLUSHES else 0
    counters.unmaps = row.commands if row.opcode == _UNMAP else 0
    return counters


class LiveFeed:
    """The servers that :class:`WatchOptions` names: one, or all that run. One that ends is looked for again."""

    def __init__(self, source: WatchOptions, phases: bool = False) -> None:
        """Connect; raises TraceError when there is no server at all. ``phases``: keep those of commands, too."""
        self._source = source
        self._phases = self._asked = phases
        self._sums: dict[str, Sums] = {}
        self._cpu_before: dict[str, Cpu | None] = {}
        """Of those servers that no sample has been taken of."""
        self._next_look = 0.0
        if source.socket is not None or source.name is not None:
            sums = self._open(source.name, source.socket)
            self._add(sums)
        else:
            self._look()
        if not self._sums:
            self._open(None, None).close()  # says in its error where it was looked for

    def _add(self, sums: Sums) -> None:
        self._sums[sums.name] = sums
        self._cpu_before[sums.name] = _cpu(sums.snapshot())

    def _open(self, name: str | None, socket: str | None) -> Sums:
        source = self._source
        histograms = PHASES if self._asked else ()
        return Sums(
            name, socket, client=source.client, target=source.target, lun=source.lun, histograms=histograms,
            busy=self._asked,
        )  # fmt: skip

    def want_phases(self, phases: bool) -> None:
        """From the next sample on have the servers keep the phases of commands, which costs them more, or no longer."""
        self._phases = phases

    def _ask_again(self) -> None:
        """Have the servers keep what is wanted now; this interval begins anew."""
        self._asked = self._phases
        for name, sums in list(self._sums.items()):
            sums.close()
            with suppress(TraceError):  # a server that is gone is found so below
                self._sums[name] = self._open(None, sums.path)

    def sample(self) -> list[tuple[str, Sample | None]]:
        """Read all servers; None for one that is gone. Blocks until they have answered."""
        samples: list[tuple[str, Sample | None]] = []
        if self._phases != self._asked:
            self._ask_again()
        for name, sums in list(self._sums.items()):
            try:
                snapshot = sums.snapshot(reset=True)
            except TraceError:
                sums.close()
                del self._sums[name]
                samples.append((name, None))
            else:
                sample = sample_of(name, snapshot, self._source.selection(ALL_MASK))
                sample.cpu_before = self._cpu_before.pop(name, None)
                samples.append((name, sample))
        if time.monotonic() >= self._next_look:
            self._look()
        return samples

    @property
    def any_up(self) -> bool:
        """Whether any server answers."""
        return bool(self._sums)

    def _look(self) -> None:
        """Connect to what has come (back) since the last time."""
        self._next_look = time.monotonic() + _LOOK
        source = self._source
        try:
            if source.socket is not None:
                if not self._sums:
                    self._add(self._open(None, source.socket))
                return
            for entry in servers() if not self._sums or source.name is None else ():
                if entry.name not in self._sums and source.name in (None, entry.name):
                    self._add(self._open(None, str(entry.paths.watch)))
        except TraceError:
            return  # it is ending, or not ready yet: the next look finds it

    def close(self) -> None:
        """Hang up."""
        for sums in self._sums.values():
            sums.close()
