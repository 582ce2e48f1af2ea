"""The rows that the values of many commands belong to, and what of a column is whose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final

from iscsitools.trace.sums.counters import Cell

_FEW: Final = 4
"""Times that a value comes, on average, to be counted by itself."""
Column = Sequence[int]
Choice = Callable[[Sequence[Any]], Sequence[Any]]
"""Takes of a column what a choice of rows is of."""


class Rows:
    """The rows that the values of a column belong to; who has which is found out once for all columns."""

    __slots__ = ("_shares", "cells")

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self._shares: list[tuple[Cell, Choice]] | None = None

    @property
    def only(self) -> Cell | None:
        """The row of all of them; None: there are several, or none."""
        shares = self._by_cell()
        return shares[0][0] if len(shares) == 1 else None

    def where(self, values: Column, least: int) -> tuple[Rows, Choice]:
        """Those with a value of at least ``least``."""
        if not values or min(values) >= least:
            return self, whole
        return self._chosen([value >= least for value in values])

    def _chosen(self, there: list[bool]) -> tuple[Rows, Choice]:
        def choose(column: Sequence[Any]) -> Sequence[Any]:
            return tuple(compress(column, there))

        return Rows(choose(self.cells)), choose

    def units(self) -> list[tuple[int, Rows, Choice]]:
        """Each LUN's."""
        luns = list(dict.fromkeys(cell.lun for cell, _ in self._by_cell()))
        if len(luns) == 1:
            return [(luns[0], self, whole)]
        return [(lun, *self._chosen([cell.lun == lun for cell in self.cells])) for lun in luns]

    def _by_cell(self) -> list[tuple[Cell, Choice]]:
        if self._shares is None:
            cells = self.cells
            if not cells:
                self._shares = []
            elif cells.count(cells[0]) == len(cells):
                self._shares = [(cells[0], whole)]
            else:
                different = dict.fromkeys(cells)
                self._shares = [(cell, self._chosen([owner is cell for owner in cells])[1]) for cell in different]
        return self._shares

    def each(self, take: Callable[[Cell, Column], object], values: Column) -> None:
        """Give each row its values."""
        for cell, choose in self._by_cell():
            take(cell, choose(values))

    def sort(self, index: int, values: Column) -> None:
        """Add each value to its row's histogram of that index."""
        for cell, choose in self._by_cell():
            cell.histograms[index].add(choose(values))

    def sort_few(self, index: int, values: Column, meant: Callable[[int], int] = int) -> None:
        """The same of values that are mostly the same few. ``meant``: what to count for one of them."""
        for cell, choose in self._by_cell():
            own = choose(values)
            if own.count(own[0]) == len(own):
                cell.histograms[index].add_some(meant(own[0]), len(own))
                continue
            counts = {value: own.count(value) for value in set(own)} if isinstance(own, bytes) else Counter(own)
            if len(counts) * _FEW > len(own):
                cell.histograms[index].add(list(map(meant, own)))
                continue
            for value, count in counts.items():
                cell.histograms[index].add_some(meant(value), count)


def whole(column: Sequence[Any]) -> Sequence[Any]:
    """The choice of all."""
    return column
