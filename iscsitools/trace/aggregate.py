"""Sums by connection, LUN and command, kept while events go by: the same class in the server and over a recorded file.

:class:`CommandSums` and ``counts.EventCounts`` subscribe to the probes; ``trace.replay`` feeds them records instead.
What they count is said in :mod:`iscsitools.trace.snapshot`, which is also the form in which they are read.

Latency is from scsi-command to the scsi-response, or to the data-send with the S bit, of the same ITT on the same
connection. A task management function answered "complete" clears the starts of the tasks that it names, and a
closed connection its own; an end whose start was not seen counts nothing; a command that failed is counted apart.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from iscsitools.probes.sites import (
    DATA_RECEIVE,
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    TASK_COMMAND,
    TASK_RESPONSE,
    ConnectionInfo,
    PduCall,
    XferCall,
)
from iscsitools.trace import histogram
from iscsitools.trace.selection import Selection

MAX_CELLS: Final = 8192
"""Kept per aggregation, about 5 KB each; commands beyond that are summed up in one cell of no connection."""
MAX_CLOSED: Final = 16384
"""Rows of closed connections kept until they are read."""
MAX_STARTS: Final = 65536
"""Unended commands kept per connection; a peer may send commands that nobody answers (outside the CmdSN window)."""
MAX_FUNCTIONS: Final = 256
"""Unanswered task management functions kept per connection."""

# The members of a cell, a plain list because that is what CPython counts in fastest.
COMMANDS, ENDED, LATENCY, MAXIMUM, FAILED, IN_PDUS, IN_BYTES, OUT_PDUS, OUT_BYTES = range(9)
HISTOGRAM, ERRORS, LUN, CODE, DIRECTION = range(9, 14)
COUNTERS: Final = 9
NO_CODE: Final = -1
"""In place of an operation code: data of commands that began before the aggregation did."""

Cell = list[Any]

# Flags, bytes 2 and 3 (a response has Response and Status there), TotalAHSLength and DataSegmentLength, ITT.
_FIELDS: Final = struct.Struct(">xBHI8xI").unpack_from
_REFERENCED: Final = struct.Struct(">I").unpack_from
_GOOD: Final = frozenset({0x00, 0x04})  # GOOD and CONDITION MET (SAM-5 5.3)
# Task management functions (RFC 7143 11.5.1).
_ABORT_TASK: Final = 1
_ABORT_TASK_SET: Final = 2
_CLEAR_TASK_SET: Final = 4
_LOGICAL_UNIT_RESET: Final = 5
_TARGET_RESETS: Final = frozenset({6, 7})
_VARIABLE_LENGTH: Final = 0x7F
# PERSISTENT RESERVE IN and OUT, the variable-length CDB, EXTENDED COPY, RECEIVE COPY RESULTS, SERVICE ACTION
# BIDIRECTIONAL, IN (16) and OUT (16), MAINTENANCE IN and OUT, SERVICE ACTION IN (12) and OUT (12).
_SERVICE_ACTIONS: Final = frozenset({0x5E, 0x5F, 0x7F, 0x83, 0x84, 0x9D, 0x9E, 0x9F, 0xA3, 0xA4, 0xA9, 0xAB})


def service_action(cdb: bytes) -> int | None:
    """Return the service action, of the commands that have one (SPC-4 4.2.5)."""
    if cdb[0] not in _SERVICE_ACTIONS:
        return None
    if cdb[0] == _VARIABLE_LENGTH:
        return int.from_bytes(cdb[8:10], "big")
    return cdb[1] & 0x1F


@dataclass(slots=True, eq=False)
class _Connection:
    """What the sums keep of one connection."""

    info: ConnectionInfo
    generation: int = -1
    admitted: bool = False
    cells: dict[int, Cell] = field(default_factory=dict)
    starts: dict[int, tuple[int, Cell]] = field(default_factory=dict)
    functions: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Unanswered task management functions by ITT: function, LUN, Referenced Task Tag."""


def _new_cell(lun: int, code: int, direction: int) -> Cell:
    return [0] * COUNTERS + [[0] * histogram.SIZE, {}, lun, code, direction]


class CommandSums:
    """Commands, data PDUs, latencies and failures. Give it the events of :attr:`mask`."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._connections: dict[int, _Connection] = {}
        self._closed: deque[tuple[ConnectionInfo, list[Cell]]] = deque()
        self._nobody = ConnectionInfo(0)
        self._overflow = _new_cell(-1, NO_CODE, 0)
        self._count = 0
        self.lost = 0
        """Cells of closed connections that were given up because nobody read them."""

    @property
    def mask(self) -> int:
        """The probes to subscribe to."""
        return SCSI_COMMAND | SCSI_RESPONSE | DATA_SEND | DATA_RECEIVE | TASK_COMMAND | TASK_RESPONSE

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> tuple[PduCall, XferCall]:
        """Make the calls for the call sites (see ``probes.sites.DirectSubscriber``).

        Hot: two to four calls per command. Flat on purpose, one unpack per event, no look-up beyond the connection's
        own tables; ``benchmarks/trace_cost.py`` measures it.
        """
        last: ConnectionInfo | None = None
        generation = -1
        cells: dict[int, Cell] = {}
        starts: dict[int, tuple[int, Cell]] = {}
        lun_wanted = self._selection.lun

        def turn_to(conn: ConnectionInfo) -> bool:
            nonlocal last, generation, cells, starts
            state = self._state(conn)
            last, generation, cells, starts = conn, conn.generation, state.cells, state.starts
            if not state.admitted:
                last = None
            return state.admitted

        def pdu(
            probe: int,
            conn: ConnectionInfo,
            lun: int,
            buffer: bytes | bytearray | memoryview,
            offset: int = 0,
            cdb: bytes = b"",
            sense: int = 0,
        ) -> None:
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                if lun_wanted is not None and lun != lun_wanted and probe < 11:  # not task management
                    return
                flags, outcome, length, itt = _FIELDS(buffer, offset)
                if probe == 6:  # scsi-command
                    code = cdb[0]
                    key = lun << 10 | code << 2 | flags >> 5 & 3
                    if code in _SERVICE_ACTIONS:
                        key |= ((service_action(cdb) or 0) + 1) << 80
                    try:
                        cell = cells[key]
                    except KeyError:
                        cell = self._add_cell(cells, key, lun, cdb, flags >> 5 & 3)
                    cell[COMMANDS] += 1
                    length &= 0xFFFFFF
                    if length and flags & 0x20:  # immediate data of a write
                        cell[OUT_PDUS] += 1
                        cell[OUT_BYTES] += length
                    if not cell[COMMANDS] & 1023:
                        _trim(starts)
                    starts[itt] = clock(), cell
                    return
                if probe == 8:  # data-send
                    start = starts.pop(itt, None) if flags & 1 else starts.get(itt)
                    cell = self._unknown(cells, lun) if start is None else start[1]
                    cell[IN_PDUS] += 1
                    cell[IN_BYTES] += length & 0xFFFFFF
                    if not flags & 1:  # no status in it
                        return
                elif probe == 7:  # scsi-response
                    start = starts.pop(itt, None)
                elif probe == 9:  # data-receive
                    start = starts.get(itt)
                    cell = self._unknown(cells, lun) if start is None else start[1]
                    cell[OUT_PDUS] += 1
                    cell[OUT_BYTES] += length & 0xFFFFFF
                    return
                else:
                    if probe == 11:  # task-command
                        self._managed(conn, itt, flags & 0x7F, lun, _REFERENCED(buffer, offset + 20)[0])
                    elif probe == 12 and outcome >> 8 == 0:  # task-response: function complete (RFC 7143 11.6.1)
                        self._clear(conn, itt)
                    return
                if start is None:
                    return
                if outcome in _GOOD:  # a response that is not 0 is a failure too: its high byte
                    latency = clock() - start[0]
                    cell = start[1]
                    cell[ENDED] += 1
                    cell[LATENCY] += latency
                    if latency > cell[MAXIMUM]:
                        cell[MAXIMUM] = latency
                    bits = latency.bit_length()
                    cell[HISTOGRAM][bits << 3 | (latency << 4 >> bits) & 7] += 1
                else:
                    cell = start[1]
                    cell[FAILED] += 1
                    error = outcome << 24 | sense
                    cell[ERRORS][error] = cell[ERRORS].get(error, 0) + 1
            except Exception as error:
                fail(error)

        return pdu, _ignore_xfer

    def _state(self, conn: ConnectionInfo) -> _Connection:
        state = self._connections.get(conn.ident)
        if state is None:
            state = self._connections[conn.ident] = _Connection(conn)
        if state.generation != conn.generation:
            state.generation = conn.generation
            state.admitted = self._selection.admits(conn)
        return state

    def _add_cell(self, cells: dict[int, Cell], key: int, lun: int, cdb: bytes, direction: int) -> Cell:
        if self._count >= MAX_CELLS:
            return self._overflow
        self._count += 1
        action = service_action(cdb)
        code = cdb[0] if action is None else cdb[0] | action + 1 << 8
        cell = cells[key] = _new_cell(lun, code, direction)
        return cell

    def _unknown(self, cells: dict[int, Cell], lun: int) -> Cell:
        key = lun << 10 | NO_CODE << 100
        if key not in cells and self._count < MAX_CELLS:
            self._count += 1
            cells[key] = _new_cell(lun, NO_CODE, 0)
        return cells.get(key, self._overflow)

    def _managed(self, conn: ConnectionInfo, itt: int, function: int, lun: int, referenced: int) -> None:
        """Keep a task management function until it is answered."""
        functions = self._connections[conn.ident].functions
        if len(functions) >= MAX_FUNCTIONS:
            del functions[next(iter(functions))]
        functions[itt] = function, lun, referenced

    def _clear(self, conn: ConnectionInfo, itt: int) -> None:
        """Forget the starts of the tasks that a task management function ended (RFC 7143 11.5.1, SAM-5 7)."""
        function, lun, referenced = self._connections[conn.ident].functions.pop(itt, (0, 0, 0))
        if function == _ABORT_TASK:
            self._connections[conn.ident].starts.pop(referenced, None)
            return
        if function == _ABORT_TASK_SET:
            affected = [s for s in self._connections.values() if _same_session(s.info, conn)]
        elif function in (_CLEAR_TASK_SET, _LOGICAL_UNIT_RESET, *_TARGET_RESETS):
            affected = [s for s in self._connections.values() if s.info.target == conn.target]
        else:
            return
        every_lun = function in _TARGET_RESETS
        for state in affected:
            for itt in [i for i, (_, cell) in state.starts.items() if every_lun or cell[LUN] == lun]:
                del state.starts[itt]

    def close(self, ident: int) -> None:
        """A connection was closed: its unended commands are forgotten, its sums kept until they are read."""
        state = self._connections.pop(ident, None)
        if state is None:
            return
        self._count -= len(state.cells)
        cells = [cell for cell in state.cells.values() if any(cell[:COUNTERS])]
        for cell in cells:
            cell[HISTOGRAM] = _sparse(cell[HISTOGRAM])
        # The calls may still have this connection at hand; whatever they count now goes to lists that are gone.
        self._closed.append((state.info, cells))
        while len(self._closed) > MAX_CLOSED:
            self.lost += len(self._closed.popleft()[1])

    def read(self, reset: bool) -> list[tuple[ConnectionInfo, list[Any]]]:
        """Return the counters, histogram, errors, LUN, code and direction of each cell that counted anything.

        With ``reset`` all of them begin again from 0, commands under way excepted.
        """
        rows = [(info, list(cell)) for info, cells in self._closed for cell in cells]
        live = [(s.info, cell) for s in self._connections.values() for cell in s.cells.values()]
        for info, cell in [*live, (self._nobody, self._overflow)]:
            if any(cell[:COUNTERS]):
                rows.append((info, [*cell[:HISTOGRAM], _sparse(cell[HISTOGRAM]), dict(cell[ERRORS]), *cell[LUN:]]))
            if reset:
                cell[:LUN] = _new_cell(0, 0, 0)[:LUN]
        if reset:
            self._closed.clear()
        for state in self._connections.values():
            _trim(state.starts)
        return rows


def _same_session(one: ConnectionInfo, other: ConnectionInfo) -> bool:
    return (one.target, one.tsih) == (other.target, other.tsih)


def _trim(starts: dict[int, tuple[int, Cell]]) -> None:
    while len(starts) > MAX_STARTS:
        del starts[next(iter(starts))]


def _sparse(buckets: list[int]) -> dict[int, int]:
    return {index: count for index, count in enumerate(buckets) if count}


def _ignore_xfer(
    probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
) -> None:
    """Transfers are not in the sums."""
