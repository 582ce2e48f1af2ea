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
_Column = tuple[Sequence["Cell"], Sequence[int]]


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
        columns: dict[Value, _Column] = {Value.SIZE: _present(cells, sizes), Value.DEPTH: (cells, depths)}
        if min(lbas) < 0:
            named = [lba >= 0 for lba in lbas]
            cells, lbas, blocks = (tuple(compress(column, named)) for column in (cells, lbas, blocks))
        columns[Value.PLACE] = cells, lbas
        columns[Value.DISTANCE] = self._distances(cells, lbas, blocks)
        for index, kept in enumerate(self._kept):
            _sort(index, *columns[kept.value])

    def _distances(self, cells: Sequence[Cell], lbas: Sequence[int], blocks: Sequence[int]) -> _Column:
        """From the end of each range to the beginning of the next; the first one of all has none before it."""
        if not lbas:
            return cells, lbas
        ends = tuple(map(add, lbas, blocks))
        first, self._end = self._end, ends[-1]
        if first is None:
            return cells[1:], tuple(map(sub, lbas[1:], ends))
        return cells, tuple(map(sub, lbas, (first, *ends[:-1])))


def _present(cells: Sequence[Cell], values: Sequence[int]) -> _Column:
    if min(values) >= 0:
        return cells, values
    present = [value >= 0 for value in values]
    return tuple(compress(cells, present)), tuple(compress(values, present))


def _sort(index: int, cells: Sequence[Cell], values: Sequence[int]) -> None:
    """Add each value to its row's histogram of that index."""
    for cell in dict.fromkeys(cells):
        mine = [owner is cell for owner in cells]
        cell.histograms[index].add(values if all(mine) else list(compress(values, mine)))
