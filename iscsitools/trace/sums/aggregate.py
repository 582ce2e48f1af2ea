"""Sums by connection, LUN and command, kept while events go by: the same class in the server and over a recorded file.

:class:`CommandSums` and ``counts.EventCounts`` subscribe to the probes; ``trace.replay`` feeds them records instead.
What they count is said in :mod:`iscsitools.trace.sums.snapshot`, which is also the form in which they are read.

Latency is from scsi-command to the scsi-response, or to the data-send with the S bit, of the same ITT on the same
connection. A task management function answered "complete" clears the starts of the tasks that it names, and a
closed connection its own; an end whose start was not seen counts nothing; a command that failed is counted apart.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from iscsitools.probes.firing import (
    DATA_RECEIVE,
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    TASK_COMMAND,
    TASK_RESPONSE,
    Buffer,
    Calls,
    ConnectionInfo,
)
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import aborted
from iscsitools.trace.sums.arrivals import MAX_STARTS, NONE, Arrivals
from iscsitools.trace.sums.buckets import Buckets
from iscsitools.trace.sums.counters import Cell, ConnectionCells, Starts
from iscsitools.trace.sums.declared import Histogram
from iscsitools.trace.sums.lun_filter import of_lun
from iscsitools.wire.operations import extent_of, service_action

MASK: Final = SCSI_COMMAND | SCSI_RESPONSE | DATA_SEND | DATA_RECEIVE | TASK_COMMAND | TASK_RESPONSE
"""The probes that the sums are made of."""
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
# Of a SCSI Command PDU, Expected Data Transfer Length and ExpStatSN; ExpStatSN, LBA and TRANSFER LENGTH with the CDBs
# that the fast path answers; and the StatSN of an answer.
_LENGTH_AND_STATSN: Final = struct.Struct(">20xI4xI").unpack_from
_TEN: Final = struct.Struct(">28xI2xIxH").unpack_from
_SIXTEEN: Final = struct.Struct(">28xI2xQI").unpack_from
_STATSN: Final = struct.Struct(">24xI").unpack_from
_REFERENCED: Final = struct.Struct(">I").unpack_from
_CONDITION_MET: Final = 0x04  # with GOOD (0) what is no failure (SAM-5 5.3)


class CommandSums:
    """Commands, data PDUs, latencies and failures. Give it the events of :attr:`mask`."""

    def __init__(self, selection: Selection, histograms: Sequence[Histogram] = ()) -> None:
        self._selection = selection
        self.histograms = tuple(histograms)
        """What is kept beside the latencies."""
        self._connections: dict[int, ConnectionCells] = {}
        self._closed: deque[tuple[ConnectionInfo, Cell]] = deque()
        self._nobody = ConnectionInfo(0)
        self._overflow = self._new_cell(ConnectionCells(self._nobody), -1)
        self._count = 0
        self.lost = 0
        """Cells of closed connections that were given up because nobody read them."""

    @property
    def mask(self) -> int:
        """The probes to subscribe to."""
        return MASK

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        """Make the calls for the call sites (see ``probes.sites.DirectSubscriber``).

        Hot: two to four calls per command. Flat on purpose, one unpack per event, no look-up beyond the connection's
        own tables, latencies only put by; ``benchmarks/trace_cost.py`` measures it.
        """
        last: ConnectionInfo | None = None
        generation = -1
        aliases: dict[int, Cell] = {}
        fast: dict[int, Cell] = {}
        starts: Starts = {}
        state = ConnectionCells(self._nobody)
        more = bool(self.histograms)
        answered: int | None = None  # the StatSN of the last answer of this connection
        ten, sixteen, statsn_of = _TEN, _SIXTEEN, _STATSN

        def turn_to(conn: ConnectionInfo) -> bool:
            nonlocal last, generation, aliases, fast, starts, state, answered
            state.answered = answered
            state = self._state(conn)
            answered = state.answered
            last = conn if state.admitted else None
            generation, aliases, fast, starts = conn.generation, state.aliases, state.fast, state.starts
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
                        cell.entries.extend((
                            cell, size if moves else NONE, lba, blocks, len(starts),
                            exp_statsn - 1 if answered is None else answered, exp_statsn,
                        ))  # fmt: skip
                    if not number & 255:
                        cell.fold()
                        _trim(starts)
                    starts[itt] = clock(), cell
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
                if not outcome or outcome == _CONDITION_MET:
                    cell.recent.append(clock() - began)
                else:  # the status, or the high byte: an iSCSI response other than "completed at target"
                    cell.failed += 1
                    cell.errors[outcome << 24 | sense] += 1
            except Exception as error:
                fail(error)

        def read(
            began: int, conn: ConnectionInfo, lun: int, operation: int, itt: int, address: int, length: int,
            request: Buffer, at: int, answer: Buffer, answer_at: int,
        ) -> None:  # fmt: skip
            nonlocal answered
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                try:
                    cell = fast[lun << 16 | operation]
                except KeyError:
                    cell = self._fast_cell(state, lun, operation, 0x40)
                cell.commands = number = cell.commands + 1
                cell.in_pdus += 1
                cell.in_bytes += length
                cell.recent.append(clock() - began)
                if more:
                    exp_statsn, lba, blocks = ten(request, at) if operation < 0x8000 else sixteen(request, at)
                    before = exp_statsn - 1 if answered is None else answered
                    entries = cell.entries
                    entries += (cell, length, lba, blocks, len(starts), before, exp_statsn)
                    (answered,) = statsn_of(answer, answer_at)
                if not number & 255:
                    cell.fold()
            except Exception as error:
                fail(error)

        def write(
            began: int, started: int, moved: int, conn: ConnectionInfo, lun: int, operation: int, itt: int,
            address: int, length: int, request: Buffer, at: int, answer: Buffer, answer_at: int,
        ) -> None:  # fmt: skip
            nonlocal answered
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                try:
                    cell = fast[lun << 16 | operation]
                except KeyError:
                    cell = self._fast_cell(state, lun, operation, 0x20)
                cell.commands = number = cell.commands + 1
                cell.out_pdus += 1
                cell.out_bytes += length
                cell.recent.append(clock() - began)
                if more:
                    exp_statsn, lba, blocks = ten(request, at) if operation < 0x8000 else sixteen(request, at)
                    before = exp_statsn - 1 if answered is None else answered
                    entries = cell.entries
                    entries += (cell, length, lba, blocks, len(starts), before, exp_statsn)
                    (answered,) = statsn_of(answer, answer_at)
                if not number & 255:
                    cell.fold()
            except Exception as error:
                fail(error)

        return of_lun(self._selection.lun, Calls(pdu, _ignore_xfer, read, write), TASK_COMMAND | TASK_RESPONSE)

    def _state(self, conn: ConnectionInfo) -> ConnectionCells:
        state = self._connections.get(conn.ident)
        if state is None:
            state = self._connections[conn.ident] = ConnectionCells(conn)
        if state.generation != conn.generation:
            state.generation = conn.generation
            state.admitted = self._selection.admits(conn)
        return state

    def _new_cell(
        self, state: ConnectionCells, lun: int, opcode: int | None = None, action: int | None = None,
        reads: bool = False, writes: bool = False,
    ) -> Cell:  # fmt: skip
        cell = Cell(lun, opcode, action, reads, writes)
        if self.histograms:
            cell.histograms = tuple(map(Buckets, self.histograms))
            cell.arrivals = state.arrivals.get(lun)
            if cell.arrivals is None:
                cell.arrivals = state.arrivals[lun] = Arrivals(self.histograms)
            cell.entries = cell.arrivals.entries
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
            cell = state.cells[key] = self._new_cell(state, lun, cdb[0], action, bool(flags & 0x40), bool(flags & 0x20))
        if action is None and len(state.aliases) < _MAX_ALIASES:
            state.aliases[alias] = cell
        return cell

    def _fast_cell(self, state: ConnectionCells, lun: int, operation: int, flags: int) -> Cell:
        """Find or make the cell of a read or write that the fast path answered."""
        cell = self._cell_of(state, lun << 16 | operation & 0xFF00 | flags, lun, operation.to_bytes(2, "big"), flags)
        if cell is not self._overflow and len(state.fast) < _MAX_ALIASES:
            state.fast[lun << 16 | operation] = cell
        return cell

    def _unknown(self, state: ConnectionCells, lun: int) -> Cell:
        key = lun, None, None, 0
        cell = state.cells.get(key)
        if cell is None:
            if self._count >= MAX_CELLS:
                return self._overflow
            self._count += 1
            cell = state.cells[key] = self._new_cell(state, lun)
        return cell

    def close(self, ident: int) -> None:
        """A connection was closed: its unended commands are forgotten, its sums kept until they are read."""
        state = self._connections.pop(ident, None)
        if state is None:
            return
        self._count -= len(state.cells)
        for cell in state.cells.values():
            cell.fold()
            if cell.used:
                self._closed.append((state.info, cell))
        while len(self._closed) > MAX_CLOSED:
            self.lost += 1
            self._closed.popleft()

    def read(self) -> list[tuple[ConnectionInfo, Cell]]:
        """Return the cells that counted anything."""
        rows = [(s.info, cell) for s in self._connections.values() for cell in s.cells.values()]
        rows.append((self._nobody, self._overflow))
        for _, cell in rows:
            cell.fold()
        for state in self._connections.values():
            _trim(state.starts)
        return [*self._closed, *(row for row in rows if row[1].used)]

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

    def reset(self) -> None:
        """Begin again from 0, with the commands that are under way."""
        self._closed.clear()
        self._overflow.reset()
        for state in self._connections.values():
            for cell in state.cells.values():
                cell.fold()
                cell.reset()


def _trim(starts: Starts) -> None:
    while len(starts) > MAX_STARTS:
        del starts[next(iter(starts))]


def _ignore_xfer(
    probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
) -> None:
    """Transfers are not in the sums."""
