"""Commands of one connection and LUN as they come, until many of them are sorted into histograms at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import add, sub
from typing import TYPE_CHECKING, Final

from iscsitools.trace.sums.declared import Histogram, Value

if TYPE_CHECKING:
    from iscsitools.trace.sums.counters import Cell

NONE: Final = -1
"""In an entry: the command moves no data, or names no range."""
Entry = tuple["Cell", int, int, int, int]
"""A command: its row, bytes, first block, blocks, and depth."""


class Arrivals:
    """Takes one entry per command; :meth:`fold` works them into the rows that they belong to.

    Hot: sorting 256 values at a time costs a tenth of sorting them one by one.
    """

    __slots__ = ("_end", "_kept", "entries")

    def __init__(self, kept: Sequence[Histogram]) -> None:
        self._kept = kept
        self._end: int | None = None
        """The block behind the last command's range."""
        self.entries: list[Entry] = []

    def fold(self) -> None:
        """Sort what has come since the last time."""
        if not self.entries:
            return
        cells, sizes, lbas, blocks, depths = zip(*self.entries, strict=True)
        self.entries.clear()
        every = _Rows(cells)
        moving, present_sizes = every.only(sizes)
        ranged, present_lbas = every.only(lbas)
        lengths = blocks if ranged is every else tuple(filter(None, blocks))
        columns: dict[Value, tuple[_Rows, Sequence[int]]] = {
            Value.SIZE: (moving, present_sizes),
            Value.PLACE: (ranged, present_lbas),
            Value.DISTANCE: self._distances(ranged, present_lbas, lengths),
            Value.DEPTH: (every, depths),
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
