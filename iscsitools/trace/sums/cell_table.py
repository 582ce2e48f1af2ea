"""The cells of the sums: found or made for each command, those of closed connections kept until they are read.

How events are counted in them stands in :mod:`iscsitools.trace.sums.aggregate`.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.arrivals import Arrivals
from iscsitools.trace.sums.buckets import Buckets
from iscsitools.trace.sums.busy import BusyTimes, Scope
from iscsitools.trace.sums.connection_cells import ConnectionCells
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram
from iscsitools.trace.sums.phases import Phases
from iscsitools.wire.operations import service_action

MAX_CELLS: Final = 2048
"""Kept per aggregation; commands beyond that are summed up in one cell of no connection."""
MAX_CLOSED: Final = 16384
"""Rows of closed connections kept until they are read."""
START_BYTES: Final = 240
"""What a command that has begun takes until it ends: a tag, a time, their pair and its place in a dictionary."""
_MAX_ALIASES: Final = 4096


class CellTable:
    """The cells of all connections; those beyond :data:`MAX_CELLS` are one."""

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
            flags = 0x20 if operation & 0x1F == 0x0A else 0x40  # WRITE of any length, or READ
            return self._cell_of(state, lun << 16 | operation << 8 | flags, lun, bytes((operation,)), flags)

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
        state.end()
        while len(self._closed) > MAX_CLOSED:
            self.lost += 1
            self._closed.popleft()

    def end(self) -> None:
        """Give all that is kept back: call it when they are subscribed no more.

        Connections and what counts for them hold each other: they would last until Python looks for circles.
        """
        for state in self._connections.values():
            state.end()
        self._connections.clear()
        self._closed.clear()

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

    def idents(self) -> list[int]:
        """The connections, for :meth:`take_connection`."""
        return list(self._connections)

    def take_connection(self, ident: int) -> list[tuple[ConnectionInfo, Cell]]:
        """The cells of one connection that counted anything; they begin again, with its commands under way."""
        state = self._connections.get(ident)
        if state is None:
            return []
        state.fold()
        state.trim()
        return [(state.info, _taken(cell)) for cell in state.cells.values() if cell.used]

    def take_closed(self) -> list[tuple[ConnectionInfo, Cell]]:
        """Those of connections that are no more, and of what found no row."""
        self._overflow.fold()
        found = list(self._closed)
        self._closed.clear()
        if self._overflow.used:
            found.append((self._nobody, _taken(self._overflow)))
        return found

    def added_up(self, found: list[tuple[ConnectionInfo, Cell]]) -> list[tuple[ConnectionInfo, Cell]]:
        """The same with one row at most of what found no row."""
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


def _taken(cell: Cell) -> Cell:
    """What it has counted; it begins again."""
    found = cell.copy()
    cell.reset()
    return found
