"""Commands of one connection as they come, until many of them are sorted into their rows at once.

Hot: what is done for a command is one addition to a list, by the engine itself (``probes.subscribers.LogCall``).
Sorting many of them, a column after the other, costs a tenth of sorting them one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress, repeat
from operator import add, rshift, sub
from typing import Any, Final

from iscsitools.probes.subscribers import LOGGED
from iscsitools.probes.table import RESERVED_TAG
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram, Value
from iscsitools.trace.sums.unsent import Unsent

NONE: Final = -1
"""Of a logged command: it moves no data, or names no range."""
MAX_STARTS: Final = 8192
"""Unended commands kept per connection: twice the largest command window. A peer may send more that nobody answers,
outside of its window: then the oldest are forgotten. More than those that it has not seen answered is no depth."""
MOST: Final = 1024
LEAST: Final = 64
ALL: Final = 1 << 16
"""Commands that a log gets before it is sorted: the more, the less each costs. All logs together have about so many."""
_EXPECTED: Final = 6
"""Where ExpStatSN stands in an entry of the log."""
_FEW: Final = 4
"""Times that a value comes, on average, to be counted by itself."""
_Column = Sequence[int]


Stretch = tuple[int, int, int, int, int, int]
"""What the log does not have of each of its commands: how many it has with this stretch; as in
:meth:`Arrivals.end_stretch`, ``began``, ``statsn``, ``itt`` and ``others``; and what follows the StatSN of the last
command that was answered before it: not ``statsn`` where something else, as a NOP-In, had one in between."""


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
        begin = self._stretches[-1][0] if self._stretches else 0
        if end > begin:
            following = self._following(begin, answered)
            self._stretches.append((end, began, statsn, itt, others, following))
            self._next = statsn + end - begin

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

    def _following(self, place: int, answered: int | None) -> int:
        """What follows the StatSN of the last command that was answered; before the first one, what is expected."""
        following = self._next
        if answered is not None and (following is None or following - answered - 1 & 0x80000000):
            return answered + 1
        return int(self.log[place * LOGGED + _EXPECTED]) if following is None else following

    def put(
        self, cell: Cell, size: int, lba: int, blocks: int, expected: int, answered: int | None, others: int
    ) -> None:
        """Add a command that the engine fires by itself. ``answered``: the StatSN of the last answer that it fired."""
        end = len(self.log) // LOGGED
        self.log += (cell, 0, 0, size, lba, blocks << 8, expected)
        following = self._following(end, answered)
        self._stretches.append((end + 1, 0, following, RESERVED_TAG, others, following))
        self._slow = True

    def fold(self) -> None:
        """Sort what has come since the last time."""
        if self._stretches:
            count = self._stretches[-1][0] * LOGGED  # the rest is of a stretch that has not ended
            columns: list[Sequence[Any]] = [self.log[at:count:LOGGED] for at in range(LOGGED)]
            del self.log[:count]
            rows = Rows(self._cells(columns[0], columns[1]))
            ended = columns[2]
            began = [0, *ended[:-1]]
            begin = 0
            for end, first, _, itt, _, _ in self._stretches:
                began[begin] = first
                if itt != RESERVED_TAG and self._unsent is not None:
                    self._unsent.put(itt, rows.parts(begin, end), ended[begin:end])
                begin = end
            timed, of_timed = rows.where(ended, 1) if self._slow else (rows, _all)
            self._slow = False
            timed.each(self._take_times, tuple(map(sub, of_timed(ended), of_timed(began))))
            timed.each(Cell.take_moved, of_timed(columns[3]))
            if self._kept:
                self._sort(rows, columns[3:])
            self._stretches.clear()
        if self._unsent is not None:
            self._unsent.fold(self.gone)
        self.gone.clear()

    def _cells(self, units: Sequence[Any], operations: _Column) -> Sequence[Cell]:
        unit, operation, count = units[0], operations[0], len(units)
        if units.count(unit) == count and operations.count(operation) == count:  # as it mostly is
            return (unit if isinstance(unit, Cell) else self._cell_of(unit, operation),) * count
        pairs = list(zip(units, operations, strict=True))
        cells = {pair: pair[0] if isinstance(pair[0], Cell) else self._cell_of(*pair) for pair in set(pairs)}
        return [cells[pair] for pair in pairs]

    def _take_times(self, cell: Cell, latencies: _Column) -> None:
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

    def _sort_depths(self, index: int, rows: Rows, expected: _Column) -> None:
        """Those that had begun elsewhere, those whose answer the initiator had not got, and the command itself."""
        unseen: list[int] = []
        begin = 0
        for end, _, statsn, _, _, following in self._stretches:
            unseen.append(following - expected[begin])
            unseen += map(sub, range(statsn + 1, statsn + end - begin), expected[begin + 1 : end])
            begin = end
        others = {begun for *_, begun, _ in self._stretches}
        if len(others) == 1:  # as it mostly is
            rows.sort_few(index, unseen, partial(_depth, others.pop()))
        else:
            rows.sort_few(index, tuple(map(_depth, self._others(), unseen)))

    def _others(self) -> list[int]:
        """Of each command, how many had begun elsewhere."""
        others: list[int] = []
        for end, _, _, _, begun, _ in self._stretches:
            others += (begun,) * (end - len(others))
        return others

    def _sort_distances(self, index: int, rows: Rows, lbas: _Column, lengths: _Column) -> None:
        """From the end of each range to the beginning of its LUN's next one; the first of all has none before it."""
        for lun, unit, of_unit in rows.units():
            first = of_unit(lbas)
            ends = _ends(first, of_unit(lengths))
            before, self._ends[lun] = self._ends.get(lun), ends[-1]
            if before is None:
                Rows(unit.cells[1:]).sort(index, tuple(map(sub, first[1:], ends)))
            else:
                unit.sort(index, tuple(map(sub, first, (before, *ends[:-1]))))


def _ends(lbas: _Column, lengths: _Column) -> _Column:
    """The blocks behind the ranges."""
    length = lengths[0]
    if lengths.count(length) == len(lengths):  # as it mostly is
        return tuple(map(add, lbas, repeat(length >> 8)))
    return tuple(map(add, lbas, map(rshift, lengths, repeat(8))))


def _depth(begun: int, unseen: int) -> int:
    unseen &= 0xFFFFFFFF  # the numbers begin anew
    return begun + (unseen if unseen < MAX_STARTS else 0) + 1  # or they make no sense


Choice = Callable[[Sequence[Any]], Sequence[Any]]
"""Takes of a column what a choice of rows is of."""


class Rows:
    """The rows that the values of a column belong to; who has which is found out once for all columns."""

    __slots__ = ("_shares", "cells")

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self._shares: list[tuple[Cell, Choice]] | None = None

    def where(self, values: _Column, least: int) -> tuple[Rows, Choice]:
        """Those with a value of at least ``least``."""
        if not values or min(values) >= least:
            return self, _all
        return self._chosen([value >= least for value in values])

    def _chosen(self, there: list[bool]) -> tuple[Rows, Choice]:
        def choose(column: Sequence[Any]) -> Sequence[Any]:
            return tuple(compress(column, there))

        return Rows(choose(self.cells)), choose

    def parts(self, begin: int, end: int) -> list[tuple[Cell, Choice]]:
        """The rows of some of the commands, and how to choose each one's."""
        by_cell = self._by_cell()
        return by_cell if len(by_cell) == 1 else Rows(self.cells[begin:end])._by_cell()

    def units(self) -> list[tuple[int, Rows, Choice]]:
        """Each LUN's."""
        luns = list(dict.fromkeys(cell.lun for cell, _ in self._by_cell()))
        if len(luns) == 1:
            return [(luns[0], self, _all)]
        return [(lun, *self._chosen([cell.lun == lun for cell in self.cells])) for lun in luns]

    def _by_cell(self) -> list[tuple[Cell, Choice]]:
        if self._shares is None:
            cells = self.cells
            if not cells:
                self._shares = []
            elif cells.count(cells[0]) == len(cells):
                self._shares = [(cells[0], _all)]
            else:
                different = dict.fromkeys(cells)
                self._shares = [(cell, self._chosen([owner is cell for owner in cells])[1]) for cell in different]
        return self._shares

    def each(self, take: Callable[[Cell, _Column], object], values: _Column) -> None:
        """Give each row its values."""
        for cell, choose in self._by_cell():
            take(cell, choose(values))

    def sort(self, index: int, values: _Column) -> None:
        """Add each value to its row's histogram of that index."""
        for cell, choose in self._by_cell():
            cell.histograms[index].add(choose(values))

    def sort_few(self, index: int, values: _Column, meant: Callable[[int], int] = int) -> None:
        """The same of values that are mostly the same few. ``meant``: what to count for one of them."""
        for cell, choose in self._by_cell():
            own = choose(values)
            if own.count(own[0]) == len(own):
                cell.histograms[index].add_some(meant(own[0]), len(own))
                continue
            counts = Counter(own)
            if len(counts) * _FEW > len(own):
                cell.histograms[index].add(list(map(meant, own)))
                continue
            for value, count in counts.items():
                cell.histograms[index].add_some(meant(value), count)


def _all(column: Sequence[Any]) -> Sequence[Any]:
    return column
