"""Reads that were answered, until the socket has taken their data: their last phase, of many of them at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import sub
from typing import Any, Final

from iscsitools.trace.sums.counters import Cell

_MOST: Final = 4096
"""Stretches that are kept; the output of a connection holds fewer."""
_Part = tuple[Cell, Sequence[int]]
"""A row, and when its commands were answered."""


class Unsent:
    """The reads of a connection in the order in which they were answered, in stretches that leave together."""

    __slots__ = ("_index", "_waiting")

    def __init__(self, index: int) -> None:
        """``index``: of a row's histogram."""
        self._index = index
        self._waiting: deque[tuple[int, int, list[_Part]]] = deque()

    def put(
        self, itt: int, parts: Iterable[tuple[Cell, Callable[[Sequence[Any]], Sequence[Any]]]], answered: Sequence[int]
    ) -> None:
        """Add a stretch, the last read of which has a tag, by rows; those that do not read are left out."""
        reads = [(cell, choose(answered)) for cell, choose in parts if cell.reads]
        self._waiting.append((itt, answered[0], reads))
        if len(self._waiting) > _MOST:
            self._waiting.popleft()

    def fold(self, gone: Iterable[tuple[int, int]]) -> None:
        """Count those that are gone: when the socket had taken a read's data, and that of all before it; its tag."""
        times: dict[Cell, list[int]] = {}
        for now, itt in gone:
            for _ in range(self._place(now, itt)):
                _, _, reads = self._waiting.popleft()
                for cell, since in reads:
                    times.setdefault(cell, []).extend(map(sub, repeat(now), since))
        for cell, sending in times.items():
            cell.histograms[self._index].add(sending)

    def _place(self, now: int, itt: int) -> int:
        """How many stretches are gone with a tag; 0: it is of a read that was answered before somebody looked."""
        for place, (tag, since, _) in enumerate(self._waiting):
            if since > now:
                break
            if tag == itt:
                return place + 1
        return 0
