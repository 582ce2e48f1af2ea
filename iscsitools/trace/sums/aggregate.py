"""Sums by connection, LUN and command, kept while events go by: the same class in the server and over a recorded file.

:class:`CommandSums` and ``counts.EventCounts`` subscribe to the probes; ``trace.replay`` feeds them records instead.
What they count is said in :mod:`iscsitools.trace.sums.snapshot`, which is also the form in which they are read.

Latency is from scsi-command to the scsi-response, or to the data-send with the S bit, of the same ITT on the same
connection. A task management function answered "complete" clears the starts of the tasks that it names, and a
closed connection its own; an end whose start was not seen counts nothing; a command that failed is counted apart.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from iscsitools.probes.firing import (
    DATA_RECEIVE,
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    TASK_COMMAND,
    TASK_RESPONSE,
    XFER_DONE,
    XFER_READ,
    XFER_START,
)
from iscsitools.probes.subscribers import Buffer, Calls, ConnectionInfo, Mark
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import aborted
from iscsitools.trace.sums.arrivals import NONE, Arrivals, full
from iscsitools.trace.sums.buckets import Buckets
from iscsitools.trace.sums.busy import BusyTimes, Scope, begin_all, end_all
from iscsitools.trace.sums.connection import ConnectionCells
from iscsitools.trace.sums.counters import Cell, Starts
from iscsitools.trace.sums.declared import PHASES, Histogram
from iscsitools.trace.sums.lun_filter import of_lun
from iscsitools.trace.sums.phases import Phases
from iscsitools.wire.operations import extent_of, service_action

MASK: Final = SCSI_COMMAND | SCSI_RESPONSE | DATA_SEND | DATA_RECEIVE | TASK_COMMAND | TASK_RESPONSE
"""The probes that the sums are made of. The phases of commands need :data:`TRANSFERS` too."""
TRANSFERS: Final = XFER_START | XFER_DONE
MAX_CELLS: Final = 2048
"""Kept per aggregation; commands beyond that are summed up in one cell of no connection."""
MAX_CLOSED: Final = 16384
"""Rows of closed connections kept until they are read."""
START_BYTES: Final = 240
"""What one of them takes: a tag, a time, their pair and its place in a dictionary."""
_MAX_ALIASES: Final = 4096

# Flags, lengths (TotalAHSLength and DataSegmentLength), ITT, and the operation code of a SCSI Command PDU.
_COMMAND: Final = struct.Struct(">xB2xI8xI12xB").unpack_from
# Flags, Response and Status, lengths, ITT of the others.
_OTHER: Final = struct.Struct(">xBHI8xI").unpack_from
# Of a SCSI Command PDU, Expected Data Transfer Length and ExpStatSN, and the StatSN of an answer.
_LENGTH_AND_STATSN: Final = struct.Struct(">20xI4xI").unpack_from
_STATSN: Final = struct.Struct(">24xI").unpack_from
_REFERENCED: Final = struct.Struct(">I").unpack_from
_CONDITION_MET: Final = 0x04  # with GOOD (0) what is no failure (SAM-5 5.3)


def mask_of(histograms: Iterable[Histogram]) -> int:
    """The probes that sums with these histograms are made of."""
    return MASK | TRANSFERS if any(histogram.name in PHASES for histogram in histograms) else MASK


class CommandSums:
    """Commands, data PDUs, latencies and failures. Give it the events of :attr:`mask`."""

    def __init__(self, selection: Selection, histograms: Sequence[Histogram] = (), busy: bool = False) -> None:
        """``busy``: count how long LUNs have commands under way."""
        self._selection = selection
        self.histograms = tuple(histograms)
        """What is kept beside the latencies."""
        self._busy = BusyTimes() if busy else None
        self._clock: Callable[[], int] = time.monotonic_ns
        self._connections: dict[int, ConnectionCells] = {}
        self._closed: deque[tuple[ConnectionInfo, Cell]] = deque()
        self._nobody = ConnectionInfo(0)
        self._overflow = self._new_cell(-1)
        self._count = 0
        self.lost = 0
        """Cells of closed connections that were given up because nobody read them."""

    @property
    def mask(self) -> int:
        """The probes to subscribe to."""
        return mask_of(self.histograms)

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        """Make the calls for the call sites (see ``probes.sites.DirectSubscriber``).

        Hot: no call for a command that the fast path answers, which is in the log, and two to four for another one.
        Flat on purpose, one unpack per event, no look-up beyond the connection's own tables, latencies only put by;
        ``benchmarks/trace_cost.py`` measures it.
        """
        self._clock = clock
        busy = self._busy
        last: ConnectionInfo | None = None
        generation = -1
        aliases: dict[int, Cell] = {}
        starts: Starts = {}
        state = self._new_connection(self._nobody)
        more = bool(self.histograms)
        phased = state.phases.kept
        most = full(1)
        answered: int | None = None  # the StatSN of the last answer of this connection
        statsn_of = _STATSN

        def turn_to(conn: ConnectionInfo) -> bool:
            nonlocal last, generation, aliases, starts, state, answered, most
            state.answered = answered
            state = self._state(conn)
            most = full(len(self._connections))
            answered = state.answered
            last = conn if state.admitted else None
            generation, aliases, starts = conn.generation, state.aliases, state.starts
            return state.admitted

        def pdu(
            probe: int,
            conn: ConnectionInfo,
            lun: int,
            buffer: Buffer,
            offset: int = 0,
            cdb: bytes = b"",
            sense: int = 0,
        ) -> None:
            nonlocal answered
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                if probe == 6:  # scsi-command
                    flags, length, itt, opcode = _COMMAND(buffer, offset)
                    alias = lun << 16 | opcode << 8 | flags
                    try:
                        cell = aliases[alias]
                    except KeyError:
                        cell = self._cell_of(state, alias, lun, cdb, flags)
                    cell.commands = number = cell.commands + 1
                    if flags & 0x20 and length & 0xFFFFFF:  # immediate data of a write
                        cell.out_pdus += 1
                        cell.out_bytes += length & 0xFFFFFF
                    if more:
                        size, exp_statsn = _LENGTH_AND_STATSN(buffer, offset)
                        moves = flags & 0x60
                        extent = extent_of(cdb) if moves else None
                        lba, blocks = extent if extent is not None and extent.blocks else (NONE, 0)
                        size = size if moves else NONE
                        state.arrivals.put(cell, size, lba, blocks, exp_statsn, answered, len(starts))
                    if phased and itt in state.phases.transfers:
                        state.phases.replaced(itt, clock())
                    if not number & 255:
                        state.fold()
                        state.trim()
                    now = clock()
                    if busy is not None:
                        if itt in starts:
                            end_all(starts[itt][1].spans, now)
                        begin_all(cell.spans, now)
                    starts[itt] = now, cell
                    return
                flags, outcome, length, itt = _OTHER(buffer, offset)
                if probe == 8:  # data-send, which has no AHS
                    if flags & 1:  # and the status, which ends the command
                        if more:
                            (answered,) = statsn_of(buffer, offset)
                        start = starts.pop(itt, None)
                        cell = start[1] if start is not None else self._unknown(state, lun)
                        cell.in_pdus += 1
                        cell.in_bytes += length
                    else:
                        start = starts.get(itt)
                        cell = start[1] if start is not None else self._unknown(state, lun)
                        cell.in_pdus += 1
                        cell.in_bytes += length
                        return
                elif probe == 7:  # scsi-response
                    if more:
                        (answered,) = statsn_of(buffer, offset)
                    start = starts.pop(itt, None)
                elif probe == 9:  # data-receive
                    start = starts.get(itt)
                    cell = start[1] if start is not None else self._unknown(state, lun)
                    cell.out_pdus += 1
                    cell.out_bytes += length & 0xFFFFFF
                    return
                else:
                    if probe == 11:  # task-command
                        aborted.asked(state, itt, flags & 0x7F, lun, _REFERENCED(buffer, offset + 20)[0])
                    elif probe == 12 and outcome >> 8 == 0:  # task-response: function complete (RFC 7143 11.6.1)
                        aborted.answered(self._connections.values(), state, itt)
                    return
                if start is None:
                    return
                began, cell = start
                good = not outcome or outcome == _CONDITION_MET
                if good or busy is not None:
                    now = clock()
                if busy is not None:
                    end_all(cell.spans, now)
                if good:
                    cell.recent.append(now - began)
                    if phased:
                        state.phases.ended(itt, cell, began, now)
                else:  # the status, or the high byte: an iSCSI response other than "completed at target"
                    cell.failed += 1
                    cell.errors[outcome << 24 | sense] += 1
                    state.phases.forget(itt)
            except Exception as error:
                fail(error)

        def log(conn: ConnectionInfo) -> list[Any] | None:
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return None
                arrivals = state.arrivals
                if len(arrivals.log) >= most:
                    arrivals.fold()
                return arrivals.log
            except Exception as error:
                fail(error)
                return None

        def logged(began: int, statsn: int, itt: int) -> None:
            try:
                if busy is not None and busy.open:
                    state.arrivals.hide_busy(began)
                state.arrivals.end_stretch(began, statsn, itt, answered, len(starts))
            except Exception as error:
                fail(error)

        def xfer(
            probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int,
            kind: int,
        ) -> None:  # fmt: skip
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                if probe == 16:  # xfer-start
                    if itt in starts:
                        state.phases.start(itt, clock())
                elif itt in state.phases.transfers:
                    state.phases.done(itt, clock(), kind)
                elif kind == XFER_READ:
                    state.arrivals.gone.append((clock(), itt))
            except Exception as error:
                fail(error)

        def sent(conn: ConnectionInfo, marks: deque[Mark], upto: int) -> None:
            try:
                wanted = (conn is last and conn.generation == generation) or turn_to(conn)
                while marks and marks[0][0] <= upto:
                    itt = marks.popleft()[2]
                    if not wanted:
                        continue
                    now = clock()
                    if itt in state.phases.transfers:
                        state.phases.done(itt, now, XFER_READ)
                    else:
                        state.arrivals.gone.append((now, itt))
            except Exception as error:
                fail(error)

        moved = (xfer, sent) if phased else (_ignore_xfer, None)
        calls = Calls(pdu, moved[0], sent=moved[1], log=log, logged=logged)
        return of_lun(self._selection.lun, calls, TASK_COMMAND | TASK_RESPONSE)

    def _state(self, conn: ConnectionInfo) -> ConnectionCells:
        state = self._connections.get(conn.ident)
        if state is None:
            state = self._connections[conn.ident] = self._new_connection(conn)
        if state.generation != conn.generation:
            state.generation = conn.generation
            state.admitted = self._selection.admits(conn)
        return state

    def _new_connection(self, conn: ConnectionInfo) -> ConnectionCells:
        def logged(lun: int, operation: int) -> Cell:
            flags = 0x20 if operation >> 8 & 0x1F == 0x0A else 0x40  # WRITE of any length, or READ
            cdb = operation.to_bytes(2, "big")
            return self._cell_of(state, lun << 16 | operation & 0xFF00 | flags, lun, cdb, flags)

        state = ConnectionCells(conn, Arrivals(self.histograms, logged), Phases(self.histograms), lambda: self._clock())
        return state

    def _new_cell(
        self, lun: int, opcode: int | None = None, action: int | None = None, reads: bool = False, writes: bool = False
    ) -> Cell:
        cell = Cell(lun, opcode, action, reads, writes)
        cell.histograms = tuple(map(Buckets, self.histograms))
        return cell

    def _cell_of(self, state: ConnectionCells, alias: int, lun: int, cdb: bytes, flags: int) -> Cell:
        """Find or make the cell of a command; without a service action the hot path finds it by itself next time."""
        action = service_action(cdb)
        key = lun, cdb[0], action, flags >> 5 & 3
        cell = state.cells.get(key)
        if cell is None:
            if self._count >= MAX_CELLS:
                return self._overflow
            self._count += 1
            cell = state.cells[key] = self._new_cell(lun, cdb[0], action, bool(flags & 0x40), bool(flags & 0x20))
            if self._busy is not None:
                if lun not in state.spans:
                    state.spans[lun] = self._busy.join(state.info, lun)
                cell.spans = state.spans[lun]
        if action is None and len(state.aliases) < _MAX_ALIASES:
            state.aliases[alias] = cell
        return cell

    def _unknown(self, state: ConnectionCells, lun: int) -> Cell:
        key = lun, None, None, 0
        cell = state.cells.get(key)
        if cell is None:
            if self._count >= MAX_CELLS:
                return self._overflow
            self._count += 1
            cell = state.cells[key] = self._new_cell(lun)
        return cell

    def close(self, ident: int) -> None:
        """A connection was closed: its unended commands are forgotten, its sums kept until they are read."""
        state = self._connections.pop(ident, None)
        if state is None:
            return
        state.fold()
        if self._busy is not None:
            state.forget_all(None)
            self._busy.leave(ident)
        self._count -= len(state.cells)
        for cell in state.cells.values():
            if cell.used:
                self._closed.append((state.info, cell))
        while len(self._closed) > MAX_CLOSED:
            self.lost += 1
            self._closed.popleft()

    def read(self, reset: bool = False) -> list[tuple[ConnectionInfo, Cell]]:
        """Return the cells that counted anything; with ``reset`` they begin again, with the commands under way."""
        for state in self._connections.values():
            state.fold()
            state.trim()
        self._overflow.fold()
        rows = [(s.info, cell) for s in self._connections.values() for cell in s.cells.values()]
        rows.append((self._nobody, self._overflow))
        found = [*self._closed, *(row for row in rows if row[1].used)]
        if not reset:
            return found
        found = [(info, cell.copy()) for info, cell in found]
        self._closed.clear()
        for _, cell in rows:
            cell.reset()
        return found

    def busy(self, reset: bool = False) -> dict[Scope, int] | None:
        """Nanoseconds in which something was under way, by whose it was, at the last :meth:`read`; None: not kept."""
        if self._busy is None:
            return None
        times = self._busy.read(self._clock())
        if reset:
            self._busy.reset()
        return times

    @property
    def connections(self) -> int:
        """How many connections something is kept of, beside the rows of those that are closed."""
        return len(self._connections)

    def under_way(self) -> list[tuple[ConnectionInfo, int, int]]:
        """Connection, LUN and number of the commands that have begun and not ended."""
        return [
            (state.info, lun, count)
            for state in self._connections.values()
            for lun, count in Counter(cell.lun for _, cell in state.starts.values()).items()
        ]

    def held(self) -> list[tuple[ConnectionInfo, int]]:
        """Each connection, and the bytes that are kept for its commands that have not ended."""
        return [(state.info, len(state.starts) * START_BYTES) for state in self._connections.values()]


def _ignore_xfer(
    probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
) -> None:
    """Transfers are in the phases alone."""
