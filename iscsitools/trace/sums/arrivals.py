"""Commands of one connection and LUN as they come, until many of them are sorted into histograms at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import add, sub
from typing import TYPE_CHECKING, Any, Final

from iscsitools.trace.sums.declared import Histogram, Value

if TYPE_CHECKING:
    from iscsitools.trace.sums.counters import Cell

NONE: Final = -1
"""In an entry: the command moves no data, or names no range."""
MAX_STARTS: Final = 8192
"""Unended commands kept per connection: twice the largest command window. A peer may send more that nobody answers,
outside of its window: then the oldest are forgotten. More than those that it has not seen answered is no depth."""
ENTRY: Final = 7
"""What stands in the list for a command, one after the other, cheaper than an object each: its row, bytes, first
block, blocks; for its depth how many had begun and not ended, the StatSN of the last answer, and ExpStatSN."""


class Arrivals:
    """Takes one entry per command; :meth:`fold` works them into the rows that they belong to.

    Hot: sorting 256 values at a time costs a tenth of sorting them one by one.
    """

    __slots__ = ("_end", "_kept", "entries")

    def __init__(self, kept: Sequence[Histogram]) -> None:
        self._kept = kept
        self._end: int | None = None
        """The block behind the last command's range."""
        self.entries: list[Any] = []

    def fold(self) -> None:
        """Sort what has come since the last time."""
        if not self.entries:
            return
        cells, sizes, lbas, blocks, begun, answered, expected = (self.entries[at::ENTRY] for at in range(ENTRY))
        self.entries.clear()
        every = _Rows(cells)
        moving, present_sizes = every.only(sizes)
        ranged, present_lbas = every.only(lbas)
        lengths = blocks if ranged is every else list(filter(None, blocks))
        columns: dict[Value, tuple[_Rows, Sequence[int]]] = {
            Value.SIZE: (moving, present_sizes),
            Value.PLACE: (ranged, present_lbas),
            Value.DISTANCE: self._distances(ranged, present_lbas, lengths),
            Value.DEPTH: (every, _depths(begun, answered, expected)),
        }
        for index, kept in enumerate(self._kept):
            rows, values = columns[kept.value]
            rows.sort(index, values)

    def _distances(self, rows: _Rows, lbas: Sequence[int], blocks: Sequence[int]) -> tuple[_Rows, Sequence[int]]:
        """From the end of each range to the beginning of the next; the first one of all has none before it."""
        if not lbas:
            return rows, lbas
        ends = tuple(map(add, lbas, blocks))
        first, self._end = self._end, ends[-1]
        if first is None:
            return _Rows(rows.cells[1:]), tuple(map(sub, lbas[1:], ends))
        return rows, tuple(map(sub, lbas, (first, *ends[:-1])))


def _depths(begun: Sequence[int], answered: Sequence[int], expected: Sequence[int]) -> Sequence[int]:
    """Those that had begun, those whose answer the initiator had not got, and the command itself."""
    unseen = tuple(map(sub, answered, expected))
    if min(unseen) < -1 or max(unseen) >= MAX_STARTS - 1:  # the numbers have begun anew, or they make no sense
        unseen = tuple((n + 1 & 0xFFFFFFFF) - 1 for n in unseen)
        unseen = tuple(n if n < MAX_STARTS - 1 else -1 for n in unseen)
    return tuple(map((2).__add__, map(add, begun, unseen)))


class _Rows:
    """The rows that the values of a column belong to; who has which is found out once for all columns."""

    __slots__ = ("_shares", "cells")

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self._shares: list[tuple[Cell, list[bool]]] | None = None

    def only(self, values: Sequence[int]) -> tuple[_Rows, Sequence[int]]:
        """Without the commands that have no such value."""
        if min(values) >= 0:
            return self, values
        there = [value >= 0 for value in values]
        return _Rows(tuple(compress(self.cells, there))), tuple(compress(values, there))

    def sort(self, index: int, values: Sequence[int]) -> None:
        """Add each value to its row's histogram of that index."""
        cells = self.cells
        if not cells:
            return
        if cells.count(cells[0]) == len(cells):  # as it mostly is
            cells[0].histograms[index].add(values)
            return
        if self._shares is None:
            self._shares = [(cell, [owner is cell for owner in cells]) for cell in dict.fromkeys(cells)]
        for cell, share in self._shares:
            cell.histograms[index].add(tuple(compress(values, share)))
