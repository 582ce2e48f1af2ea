"""The sums that the data path's module in C keeps: the same rows as those of ``sums.aggregate.CommandSums``."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo, Tracer
from iscsitools.probes.table import Probe
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import aborted
from iscsitools.trace.sums.aggregate import CommandSums, mask_of
from iscsitools.trace.sums.buckets import Buckets
from iscsitools.trace.sums.busy import Scope, Scopes
from iscsitools.trace.sums.cell_table import MAX_CLOSED
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram
from iscsitools.wire.operations import RANGES, SERVICE_ACTION_OPERATIONS, VARIABLE_LENGTH_RANGE

_FUNCTION: Final = struct.Struct(">xBHI8xII").unpack_from
"""Flags, Response, lengths, ITT and Referenced Task Tag."""
_OPERATIONS: Final = b"".join(
    bytes([code in SERVICE_ACTION_OPERATIONS, *RANGES.get(code, (0, 0, 0, 0))]) for code in range(256)
) + bytes([True, *VARIABLE_LENGTH_RANGE])
"""Of each operation code, and of the variable-length CDB: see ``struct operation`` of ``datapath/trace_sums.h``."""


class _SumsTracer(Tracer, Protocol):
    """``iscsitools.datapath._native.SumsTracer``."""

    def read(self, reset: bool, ident: int = ..., /) -> list[tuple[Any, ...]]: ...
    def busy(self, places: int, reset: bool, /) -> list[int]: ...
    def close(self, ident: int, /) -> list[tuple[Any, ...]]: ...
    def forget(self, ident: int, itt: int, /) -> None: ...
    def forget_all(self, ident: int, lun: int | None, /) -> None: ...
    def under_way(self) -> list[tuple[ConnectionInfo, int]]: ...
    def held(self) -> list[tuple[ConnectionInfo, int]]: ...


@dataclass(slots=True, eq=False)
class _Tasks:
    """The task management functions of a connection, and its commands in the tracer."""

    info: ConnectionInfo
    tracer: _SumsTracer
    functions: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def forget(self, itt: int) -> None:
        self.tracer.forget(self.info.ident, itt)

    def forget_all(self, lun: int | None) -> None:
        self.tracer.forget_all(self.info.ident, lun)


class NativeSums:
    """A face of the tracer that has what ``CommandSums`` has; it counts once it is subscribed."""

    def __init__(self, selection: Selection, histograms: Sequence[Histogram] = (), busy: bool = False) -> None:
        self._selection = selection
        self.histograms = tuple(histograms)
        self._scopes = Scopes() if busy else None
        self.mask = mask_of(self.histograms)
        self._tracer: _SumsTracer | None = None
        self._tasks: dict[int, _Tasks] = {}
        self._nobody = ConnectionInfo(0)
        self._closed: deque[tuple[ConnectionInfo, Cell]] = deque()
        self.lost = 0
        """Cells of closed connections that were given up because nobody read them."""

    def native(self, module: Any, clock: Callable[[], int] | None, fail: Callable[[Exception], None]) -> Tracer:
        """See ``probes.subscribers.NativeSubscriber``."""
        kept = tuple((int(h.value), int(h.scale)) for h in self.histograms)
        tracer: _SumsTracer = module.SumsTracer(
            _OPERATIONS, kept, self._admit, self._task, fail, clock, self._selection.lun,
            self._scopes.join if self._scopes is not None else None,
        )  # fmt: skip
        self._tracer = tracer
        return tracer

    def of_thread(self, number: int) -> Tracer | None:
        """The same one: all is counted by connection (see ``probes.subscribers.ThreadedSubscriber``)."""
        return self._tracer

    def _admit(self, conn: ConnectionInfo) -> bool:
        assert self._tracer is not None
        self._tasks.setdefault(conn.ident, _Tasks(conn, self._tracer))
        return self._selection.admits(conn)

    def _task(self, probe: int, conn: ConnectionInfo, lun: int, bhs: bytes) -> None:
        flags, outcome, _, itt, referenced = _FUNCTION(bhs)
        asker = self._tasks[conn.ident]
        if probe == Probe.TASK_COMMAND:
            aborted.asked(asker, itt, flags & 0x7F, lun, referenced)
        elif outcome >> 8 == 0:  # function complete (RFC 7143 11.6.1)
            aborted.answered(self._tasks.values(), asker, itt)

    def _cell(self, row: tuple[Any, ...]) -> tuple[ConnectionInfo, Cell]:
        info, lun, opcode, action, reads, writes, *numbers, latencies, errors, histograms = row
        counted: list[Any] = [*numbers, Counter(latencies), Counter(errors)]
        cell = Cell(lun, opcode, action, bool(reads), bool(writes), *counted)
        cell.histograms = tuple(map(Buckets, self.histograms))
        for buckets, (shift, counts) in zip(cell.histograms, histograms, strict=True):
            buckets.add_sorted(shift, counts)
        return info if info is not None else self._nobody, cell

    def close(self, ident: int) -> None:
        """A connection was closed: its unended commands are forgotten, its sums kept until they are read."""
        self._tasks.pop(ident, None)
        if self._tracer is None:
            return
        self._closed.extend(map(self._cell, self._tracer.close(ident)))
        if self._scopes is not None:
            self._scopes.leave(ident)
        while len(self._closed) > MAX_CLOSED:
            self.lost += 1
            self._closed.popleft()

    def end(self) -> None:
        """Give all that is kept back: call it when they are subscribed no more.

        The tracer calls back, so the two hold each other: without this, they would last until Python looks for circles.
        """
        self._tracer = None
        self._tasks.clear()
        self._closed.clear()

    def read(self, reset: bool = False) -> list[tuple[ConnectionInfo, Cell]]:
        """Return the cells that counted anything; with ``reset`` they begin again, with the commands under way.

        Both in one, for data threads go on counting.
        """
        rows = self._tracer.read(reset) if self._tracer is not None else []
        found = [*self._closed, *map(self._cell, rows)]
        if reset:
            self._closed.clear()
        return self.added_up(found)

    def added_up(self, found: list[tuple[ConnectionInfo, Cell]]) -> list[tuple[ConnectionInfo, Cell]]:
        """The same with one row at most of what found no row."""
        return _added_up(found, self._nobody) if sum(info is self._nobody for info, _ in found) > 1 else found

    def idents(self) -> list[int]:
        """The connections, for :meth:`take_connection`."""
        return list(self._tasks)

    def take_connection(self, ident: int) -> list[tuple[ConnectionInfo, Cell]]:
        """The cells of one connection that counted anything; they begin again, with its commands under way."""
        return list(map(self._cell, self._tracer.read(True, ident))) if self._tracer is not None else []

    def take_closed(self) -> list[tuple[ConnectionInfo, Cell]]:
        """Those of connections that are no more."""
        found = list(self._closed)
        self._closed.clear()
        return found

    def busy(self, reset: bool = False) -> dict[Scope, int] | None:
        """See ``CommandSums.busy``."""
        if self._scopes is None or self._tracer is None:
            return None if self._scopes is None else {}
        times = self._scopes.named(self._tracer.busy(self._scopes.places, reset))
        if reset:
            self._scopes.was_read()
        return times

    @property
    def connections(self) -> int:
        """How many connections something is kept of, beside the rows of those that are closed."""
        return len(self._tasks)

    def under_way(self) -> list[tuple[ConnectionInfo, int, int]]:
        """Connection, LUN and number of the commands that have begun and not ended."""
        pairs = self._tracer.under_way() if self._tracer is not None else []
        counts = Counter((info.ident, lun) for info, lun in pairs)
        infos = {info.ident: info for info, _ in pairs}
        return [(infos[ident], lun, count) for (ident, lun), count in counts.items()]

    def held(self) -> list[tuple[ConnectionInfo, int]]:
        """Each connection, and the bytes that are kept for its commands that have not ended."""
        return self._tracer.held() if self._tracer is not None else []


def _added_up(rows: list[tuple[ConnectionInfo, Cell]], nobody: ConnectionInfo) -> list[tuple[ConnectionInfo, Cell]]:
    """The same with one row of what found no row, of which each connection has its own."""
    first, *others = (cell for info, cell in rows if info is nobody)
    total = first.copy()
    for cell in others:
        total.add(cell)
    return [*(row for row in rows if row[0] is not nobody), (nobody, total)]


Sums = CommandSums | NativeSums


def make_sums(probes: Probes, selection: Selection, histograms: Sequence[Histogram] = (), busy: bool = False) -> Sums:
    """Sums to be subscribed to ``probes``: in C where the data path is."""
    return (NativeSums if probes.has_tracers else CommandSums)(selection, histograms, busy)
