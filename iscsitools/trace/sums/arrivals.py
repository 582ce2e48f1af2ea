"""Commands of one connection as they come, until many of them are sorted into their rows at once.

Hot: what is done for a command is to note when it was answered, by the engine itself (``probes.subscribers.LogCall``),
and to copy its BHS with those beside it. Sorting many of them, a column after the other, costs a tenth of sorting them
one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, pairwise
from operator import add, sub
from struct import Struct
from typing import Final, NamedTuple

from iscsitools.probes.subscribers import Log
from iscsitools.probes.table import RESERVED_TAG
from iscsitools.trace.sums import lanes
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram, Value
from iscsitools.trace.sums.requests import Requests, words
from iscsitools.trace.sums.rows import Column, Rows, whole
from iscsitools.trace.sums.unsent import Unsent
from iscsitools.wire.rfc7143 import BHS_LENGTH

NONE: Final = -1
"""Of a logged command: it moves no data, or names no range."""
MAX_STARTS: Final = 8192
"""Unended commands kept per connection: twice the largest command window. A peer may send more that nobody answers,
outside of its window: then the oldest are forgotten. More than those that it has not seen answered is no depth."""
MOST: Final = 512
LEAST: Final = 64
ALL: Final = 1 << 16
"""Commands that a log gets before it is sorted: the more, the less each costs, until what a log holds leaves the
processor's cache near by. All logs together have about so many."""
_SINGLE: Final = Struct(f">28xI{BHS_LENGTH - 32}x").pack
"""In place of a BHS: the ExpStatSN of a command that the engine fires by itself."""
Stretch = tuple[int, int, int | None, int, int, int | None]
"""What the log does not have of each of its commands: how many it has with this stretch; and as in
:meth:`Arrivals.end_stretch`, ``began``, ``statsn`` (None: of a command that the engine fires by itself), ``itt``,
``others`` and ``answered``."""


def full(connections: int) -> int:
    """How many commands a log gets, where there are so many."""
    return max(LEAST, min(MOST, ALL // max(connections, 1)))


class Single(NamedTuple):
    """What is known of such a command."""

    cell: Cell
    size: int
    lba: int
    blocks: int


class Arrivals:
    """The log of a connection; :meth:`fold` works it into the rows.

    A command that the engine fires by itself has its place there, without its BHS and its times: those are counted when
    it ends.
    """

    __slots__ = ("_cell_of", "_ends", "_next", "_places", "_singles", "_stretches", "_unsent", "gone", "log")

    def __init__(self, kept: Sequence[Histogram], cell_of: Callable[[int, int], Cell]) -> None:
        """``cell_of``: the row of a logged command, by its LUN and operation code."""
        self._cell_of = cell_of
        self._places = {declared.value: index for index, declared in enumerate(kept)}
        """Where a row has the histogram of a value."""
        self._ends: dict[int, int] = {}
        """By LUN, the block behind the last command's range."""
        self._stretches: list[Stretch] = []
        self._next: int | None = None
        self._singles: dict[int, Single] = {}
        """By their places in the log, commands that the engine fires by itself."""
        self.log: Log = [], bytearray()
        self._unsent = Unsent(self._places[Value.SENDING]) if Value.SENDING in self._places else None
        self.gone: list[tuple[int, int]] = []
        """When the data of a stretch's last read had left, and its ITT."""

    def end_stretch(self, began: int, statsn: int, itt: int, answered: int | None, others: int) -> None:
        """See ``LoggedCall``. ``others``: commands that had begun and not ended, and are not in the log.

        ``answered``: the StatSN of the last answer that the engine fired by itself.
        """
        end = len(self.log[0])
        stretches = self._stretches
        if end > (stretches[-1][0] if stretches else 0):
            stretches.append((end, began, statsn, itt, others, answered))

    def hide_busy(self, began: int) -> None:
        """Take off what :meth:`fold` will add for the stretch that ends now, where something else was under way too.

        No command begins or ends by itself within a stretch.
        """
        begin = self._stretches[-1][0] if self._stretches else 0
        times, requests = self.log[0][begin:], Requests(self.log[1][begin * BHS_LENGTH :])
        if not times:
            return
        for unit, operation, ended in zip(requests.units(), requests.operations, times, strict=True):
            for span in self._cell_of(unit, operation).spans:
                if span.open:
                    span.total -= ended - began
            began = ended

    def put(
        self, cell: Cell, size: int, lba: int, blocks: int, expected: int, answered: int | None, others: int
    ) -> None:
        """Add a command that the engine fires by itself. ``answered``: the StatSN of the last answer that it fired."""
        times, requests = self.log
        self._singles[len(times)] = Single(cell, size, lba, blocks)
        times.append(0)
        requests += _SINGLE(expected)
        self._stretches.append((len(times), 0, None, RESERVED_TAG, others, answered))

    def fold(self) -> None:
        """Sort what has come since the last time."""
        if self._stretches:
            count = self._stretches[-1][0]  # the rest is of a stretch that has not ended
            ended, requests = self.log[0][:count], Requests(self.log[1][: count * BHS_LENGTH])
            del self.log[0][:count], self.log[1][: count * BHS_LENGTH]
            singles = self._singles.items()
            rows = Rows(self._cells(requests))
            timed, of_timed = rows.where(ended, 1) if singles else (rows, whole)
            began = self._begun(rows, ended)
            timed.each(self._take_times, tuple(map(sub, of_timed(ended), of_timed(began))))
            sizes = _replaced(requests.sizes(), ((place, single.size) for place, single in singles))
            timed.each(Cell.take_moved, of_timed(sizes))
            if self._places:
                self._sort(rows, requests, sizes)
            self._stretches.clear()
            self._singles.clear()
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

    def _cells(self, requests: Requests) -> Sequence[Cell]:
        units, operations = requests.units(), requests.operations
        if isinstance(units, tuple) and not self._singles and requests.alike:  # as it mostly is
            return (self._cell_of(units[0], operations[0]),) * len(units)
        pairs = list(zip(units, operations, strict=True))
        logged = {pair: self._cell_of(*pair) for pair in set(pairs) if pair[1]}
        singles = self._singles
        return [logged[pair] if pair[1] else singles[place].cell for place, pair in enumerate(pairs)]

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

    def _sort(self, rows: Rows, requests: Requests, sizes: Sequence[int]) -> None:
        places = self._places
        if Value.SIZE in places:
            moving, of_moving = rows.where(sizes, 0) if self._singles else (rows, whole)
            moving.sort_few(places[Value.SIZE], of_moving(sizes))
        if (Value.PLACE in places or Value.DISTANCE in places) and not self._sort_like_ranges(rows, requests):
            self._sort_ranges(rows, requests)
        if Value.DEPTH in places:
            self._sort_depths(places[Value.DEPTH], rows, requests.expected())

    def _sort_like_ranges(self, rows: Rows, requests: Requests) -> bool:
        """Places and distances where all commands are of one row and have one length: whether that is so."""
        cell, length, lbas = rows.only, requests.length(), requests.places_in_lanes()
        if cell is None or self._singles or length is None or lbas is None or cell.lun not in self._ends:
            return False
        if Value.PLACE in self._places:
            buckets = cell.histograms[self._places[Value.PLACE]]
            shares = lanes.shares(lbas, len(requests), buckets.shift)
            if shares is None:
                return False
            buckets.counts.update(shares)
        if Value.DISTANCE in self._places:
            distances = lanes.distances(lbas, len(requests), length, self._ends[cell.lun])
            cell.histograms[self._places[Value.DISTANCE]].add(distances)
        self._ends[cell.lun] = lanes.last(lbas) + length
        return True

    def _sort_ranges(self, rows: Rows, requests: Requests) -> None:
        singles = self._singles.items()
        lbas = _replaced(requests.places(), ((place, single.lba) for place, single in singles))
        lengths = _replaced(requests.lengths(), ((place, single.blocks) for place, single in singles))
        ranged, of_ranged = rows.where(lbas, 0)
        if Value.PLACE in self._places:
            ranged.sort(self._places[Value.PLACE], of_ranged(lbas))
        if Value.DISTANCE in self._places:
            self._sort_distances(self._places[Value.DISTANCE], ranged, of_ranged(lbas), of_ranged(lengths))

    def _sort_depths(self, index: int, rows: Rows, expected: bytes) -> None:
        """Those that had begun elsewhere, those whose answer the initiator had not got, and the command itself."""
        unseen = self._unseen(expected)
        others = {begun for *_, begun, _ in self._stretches}
        if len(others) == 1:  # as it mostly is
            rows.sort_few(index, unseen, partial(_depth, others.pop()))
        else:
            rows.sort_few(index, tuple(map(_depth, self._others(), unseen)))

    def _unseen(self, expected: bytes) -> Sequence[int]:
        """Of each command, how many answers before it the initiator had not got; in bytes, which are counted faster."""
        numbers = self._numbers(int.from_bytes(expected[:4], "big"))
        if all(run.stop == following.start for run, following in pairwise(numbers)):  # as it mostly is
            unseen = lanes.ahead(numbers[0].start, expected)
            if unseen is not None:
                return unseen
        one_by_one = tuple(map(sub, chain.from_iterable(numbers), words(expected)))
        with suppress(ValueError):
            return bytes(one_by_one)
        return one_by_one

    def _numbers(self, expected: int) -> list[range]:
        """What follows the StatSN of the last command that was answered before each.

        Before the first of all that is what it expects. Before a stretch it is not the stretch's first StatSN where
        something else, as a NOP-In, had one in between.
        """
        numbers: list[range] = []
        begin = 0
        for end, _, statsn, _, _, answered in self._stretches:
            following = self._next
            if answered is not None and (following is None or following - answered - 1 & 0x80000000):
                following = answered + 1
            first = expected if following is None else following
            if first != statsn:
                numbers.append(range(first, first + 1))
            if statsn is not None:
                self._next = statsn + end - begin
                numbers.append(range(statsn + (first != statsn), self._next))
            begin = end
        return numbers

    def _others(self) -> list[int]:
        """Of each command, how many had begun elsewhere."""
        others: list[int] = []
        for end, _, _, _, begun, _ in self._stretches:
            others += (begun,) * (end - len(others))
        return others

    def _sort_distances(self, index: int, rows: Rows, lbas: Sequence[int], lengths: Sequence[int]) -> None:
        """From the end of each range to the beginning of its LUN's next one; the first of all has none before it."""
        for lun, unit, of_unit in rows.units():
            first, length = of_unit(lbas), of_unit(lengths)
            before = self._ends.get(lun)
            self._ends[lun] = first[-1] + length[-1]
            ends = map(add, first, length)
            if before is None:
                Rows(unit.cells[1:]).sort(index, tuple(map(sub, first[1:], ends)))
            else:
                unit.sort(index, tuple(map(sub, first, chain((before,), ends))))


def _replaced(column: Sequence[int], others: Iterable[tuple[int, int]]) -> Sequence[int]:
    """A column with other values in some places."""
    changed: list[int] | None = None
    for place, value in others:
        if changed is None:
            changed = list(column)
        changed[place] = value
    return column if changed is None else changed


def _depth(begun: int, unseen: int) -> int:
    unseen &= 0xFFFFFFFF  # the numbers begin anew
    return begun + (unseen if unseen < MAX_STARTS else 0) + 1  # or they make no sense
