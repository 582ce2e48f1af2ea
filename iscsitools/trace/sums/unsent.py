"""Reads that were answered, until the socket has taken their data: their last phase, of many of them at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from operator import sub
from typing import Final

from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.rows import Rows

_MOST: Final = 4096
"""Stretches that are kept; the output of a connection holds fewer."""


class Unsent:
    """The reads of a connection in the order in which they were answered, in stretches that leave together."""

    __slots__ = ("_answered", "_cells", "_index", "_stretches")

    def __init__(self, index: int) -> None:
        """``index``: of a row's histogram."""
        self._index = index
        self._stretches: deque[tuple[int, int, int]] = deque()
        """The tag of its last read, when its first command was answered, and how many commands it has."""
        self._cells: list[Cell] = []
        """Of all their commands: the rows, and when they were answered."""
        self._answered: list[int] = []

    def put(self, itt: int, cells: Sequence[Cell], answered: Sequence[int]) -> None:
        """Add a stretch, the last read of which has a tag."""
        self._stretches.append((itt, answered[0], len(cells)))
        self._cells += cells
        self._answered += answered
        if len(self._stretches) > _MOST:
            self._take(self._stretches.popleft()[2])

    def fold(self, gone: Iterable[tuple[int, int]]) -> None:
        """Count those that are gone: when the socket had taken a read's data, and that of all before it; its tag."""
        times: list[int] = []
        for now, itt in gone:
            for _ in range(self._place(now, itt)):
                times += (now,) * self._stretches.popleft()[2]
        if times:
            rows, answered = self._take(len(times))
            rows.each(self._count, tuple(map(sub, times, answered)))

    def _take(self, count: int) -> tuple[Rows, list[int]]:
        rows, answered = Rows(self._cells[:count]), self._answered[:count]
        del self._cells[:count], self._answered[:count]
        return rows, answered

    def _count(self, cell: Cell, sending: Sequence[int]) -> None:
        if cell.reads:  # not the writes between them
            cell.histograms[self._index].add(sending)

    def _place(self, now: int, itt: int) -> int:
        """How many stretches are gone with a tag; 0: it is of a read that was answered before somebody looked."""
        for place, (tag, since, _) in enumerate(self._stretches):
            if since > now:
                break
            if tag == itt:
                return place + 1
        return 0
