"""Commands of one connection as they come, until many of them are sorted into their rows at once.

Hot: what is done for a command is one addition to a list, by the engine itself (``probes.subscribers.LogCall``).
Sorting many of them, a column after the other, costs a tenth of sorting them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from operator import add, rshift, sub
from typing import Any, Final

from iscsitools.probes.subscribers import LOGGED
from iscsitools.probes.table import RESERVED_TAG
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram, Value
from iscsitools.trace.sums.rows import Column, Rows, whole
from iscsitools.trace.sums.unsent import Unsent

NONE: Final = -1
"""Of a logged command: it moves no data, or names no range."""
MAX_STARTS: Final = 8192
"""Unended commands kept per connection: twice the largest command window. A peer may send more that nobody answers,
outside of its window: then the oldest are forgotten. More than those that it has not seen answered is no depth."""
MOST: Final = 512
LEAST: Final = 64
ALL: Final = 1 << 16
"""Commands that a log gets before it is sorted: the more, the less each costs, until what a log holds leaves the
processor's cache near by. 512 cost less than 256 and 1024. All logs together have about so many."""
Stretch = tuple[int, int, int | None, int, int, int | None]
"""What the log does not have of each of its commands: how many it has with this stretch; and as in
:meth:`Arrivals.end_stretch`, ``began``, ``statsn`` (None: of a command that the engine fires by itself), ``itt``,
``others`` and ``answered``."""


def full(connections: int) -> int:
    """How long a log gets, where there are so many."""
    return LOGGED * max(LEAST, min(MOST, ALL // max(connections, 1)))


class Arrivals:
    """The log of a connection; :meth:`fold` works it into the rows.

    The engine's entries are as ``LogCall`` says. An entry of a command that it fires by itself has its row in place of
    the LUN, and no times: they are counted when it ends.
    """

    __slots__ = ("_cell_of", "_ends", "_kept", "_next", "_places", "_slow", "_stretches", "_unsent", "gone", "log")

    def __init__(self, kept: Sequence[Histogram], cell_of: Callable[[int, int], Cell]) -> None:
        """``cell_of``: the row of a logged command, by its LUN and operation."""
        self._cell_of = cell_of
        self._kept = [(index, declared.value) for index, declared in enumerate(kept)]
        self._places = {value: index for index, value in self._kept}
        self._ends: dict[int, int] = {}
        """By LUN, the block behind the last command's range."""
        self._stretches: list[Stretch] = []
        self._next: int | None = None
        self._slow = False
        """Whether the log has commands without times."""
        self.log: list[Any] = []
        self._unsent = Unsent(self._places[Value.SENDING]) if Value.SENDING in self._places else None
        self.gone: list[tuple[int, int]] = []
        """When the data of a stretch's last read had left, and its ITT."""

    def end_stretch(self, began: int, statsn: int, itt: int, answered: int | None, others: int) -> None:
        """See ``LoggedCall``. ``others``: commands that had begun and not ended, and are not in the log.

        ``answered``: the StatSN of the last answer that the engine fired by itself.
        """
        end = len(self.log) // LOGGED
        stretches = self._stretches
        if end > (stretches[-1][0] if stretches else 0):
            stretches.append((end, began, statsn, itt, others, answered))

    def hide_busy(self, began: int) -> None:
        """Take off what :meth:`fold` will add for the stretch that ends now, where something else was under way too.

        No command begins or ends by itself within a stretch.
        """
        at = (self._stretches[-1][0] if self._stretches else 0) * LOGGED
        for unit, operation, ended in zip(*(self.log[at + column :: LOGGED] for column in range(3)), strict=True):
            for span in self._cell_of(unit, operation).spans:
                if span.open:
                    span.total -= ended - began
            began = ended

    def put(
        self, cell: Cell, size: int, lba: int, blocks: int, expected: int, answered: int | None, others: int
    ) -> None:
        """Add a command that the engine fires by itself. ``answered``: the StatSN of the last answer that it fired."""
        self.log += (cell, 0, 0, size, lba, blocks << 8, expected)
        self._stretches.append((len(self.log) // LOGGED, 0, None, RESERVED_TAG, others, answered))
        self._slow = True

    def fold(self) -> None:
        """Sort what has come since the last time."""
        if self._stretches:
            count = self._stretches[-1][0] * LOGGED  # the rest is of a stretch that has not ended
            columns: list[Sequence[Any]] = [self.log[at:count:LOGGED] for at in range(LOGGED)]
            del self.log[:count]
            rows = Rows(self._cells(columns[0], columns[1]))
            timed, of_timed = rows.where(columns[2], 1) if self._slow else (rows, whole)
            self._slow = False
            began = self._begun(rows, columns[2])
            timed.each(self._take_times, tuple(map(sub, of_timed(columns[2]), of_timed(began))))
            timed.each(Cell.take_moved, of_timed(columns[3]))
            if self._kept:
                self._sort(rows, columns[3:])
            self._stretches.clear()
        if self._unsent is not None:
            self._unsent.fold(self.gone)
        self.gone.clear()

    def _begun(self, rows: Rows, ended: Column) -> Column:
        """When each command began: the first of a stretch with it, another one when the one before had ended."""
        began = [0, *ended[:-1]]
        begin = 0
        for end, first, _, itt, _, _ in self._stretches:
            began[begin] = first
            if itt != RESERVED_TAG and self._unsent is not None:
                self._unsent.put(itt, rows.cells[begin:end], ended[begin:end])
            begin = end
        return began

    def _cells(self, units: Sequence[Any], operations: Column) -> Sequence[Cell]:
        unit, operation, count = units[0], operations[0], len(units)
        if units.count(unit) == count and operations.count(operation) == count:  # as it mostly is
            return (unit if isinstance(unit, Cell) else self._cell_of(unit, operation),) * count
        pairs = list(zip(units, operations, strict=True))
        cells = {pair: pair[0] if isinstance(pair[0], Cell) else self._cell_of(*pair) for pair in set(pairs)}
        return [cells[pair] for pair in pairs]

    def _take_times(self, cell: Cell, latencies: Column) -> None:
        """What the engine answered at once waited for no data, and its phases but for a read's sending are one.

        It does one after the other, so that their times add up to what they were busy.
        """
        before = cell.latency
        counts = cell.take_times(latencies)
        for span in cell.spans:
            span.total += cell.latency - before
        places = self._places
        if Value.BACKSTORE in places:
            cell.histograms[places[Value.BACKSTORE]].counts.update(counts)
        if Value.WAITING in places and cell.writes:
            cell.histograms[places[Value.WAITING]].counts[0] += len(latencies)

    def _sort(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> None:
        sizes, lbas, lengths, expected = columns
        ranged, of_ranged = rows.where(lbas, 0)
        for index, value in self._kept:
            if value is Value.SIZE:
                moving, of_moving = rows.where(sizes, 0)
                moving.sort_few(index, of_moving(sizes))
            elif value is Value.PLACE:
                ranged.sort(index, of_ranged(lbas))
            elif value is Value.DISTANCE:
                self._sort_distances(index, ranged, of_ranged(lbas), of_ranged(lengths))
            elif value is Value.DEPTH:
                self._sort_depths(index, rows, expected)

    def _sort_depths(self, index: int, rows: Rows, expected: Column) -> None:
        """Those that had begun elsewhere, those whose answer the initiator had not got, and the command itself."""
        unseen: Sequence[int] = tuple(map(sub, self._numbers(expected), expected))
        with suppress(ValueError):  # bytes are counted faster, and it is seldom more
            unseen = bytes(unseen)
        others = {begun for *_, begun, _ in self._stretches}
        if len(others) == 1:  # as it mostly is
            rows.sort_few(index, unseen, partial(_depth, others.pop()))
        else:
            rows.sort_few(index, tuple(map(_depth, self._others(), unseen)))

    def _numbers(self, expected: Column) -> list[int]:
        """What follows the StatSN of the last command that was answered before each.

        Before the first of all that is what it expects. Before a stretch it is not the stretch's first StatSN where
        something else, as a NOP-In, had one in between.
        """
        numbers: list[int] = []
        begin = 0
        for end, _, statsn, _, _, answered in self._stretches:
            following = self._next
            if answered is not None and (following is None or following - answered - 1 & 0x80000000):
                following = answered + 1
            numbers.append(int(expected[begin]) if following is None else following)
            if statsn is not None:
                self._next = statsn + end - begin
                numbers += range(statsn + 1, self._next)
            begin = end
        return numbers

    def _others(self) -> list[int]:
        """Of each command, how many had begun elsewhere."""
        others: list[int] = []
        for end, _, _, _, begun, _ in self._stretches:
            others += (begun,) * (end - len(others))
        return others

    def _sort_distances(self, index: int, rows: Rows, lbas: Column, lengths: Column) -> None:
        """From the end of each range to the beginning of its LUN's next one; the first of all has none before it."""
        for lun, unit, of_unit in rows.units():
            first = of_unit(lbas)
            ends = _ends(first, of_unit(lengths))
            before, self._ends[lun] = self._ends.get(lun), ends[-1]
            if before is None:
                Rows(unit.cells[1:]).sort(index, tuple(map(sub, first[1:], ends)))
            else:
                unit.sort(index, tuple(map(sub, first, (before, *ends[:-1]))))


def _ends(lbas: Column, lengths: Column) -> Column:
    """The blocks behind the ranges."""
    length = lengths[0]
    if lengths.count(length) == len(lengths):  # as it mostly is
        return tuple(map(add, lbas, repeat(length >> 8)))
    return tuple(map(add, lbas, map(rshift, lengths, repeat(8))))


def _depth(begun: int, unseen: int) -> int:
    unseen &= 0xFFFFFFFF  # the numbers begin anew
    return begun + (unseen if unseen < MAX_STARTS else 0) + 1  # or they make no sense
