"""One attachment for all readers of the same sums: an event is counted once, however many ask for the sum.

What has been counted is taken out whenever one of them asks (a *delta*), and kept for each of the others until it asks
itself. So each has its own beginning and its own resets, and the loop that serves pays for the readers by their
questions and not by the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import busy
from iscsitools.trace.sums.busy import Scope
from iscsitools.trace.sums.cell_table import MAX_CLOSED
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram
from iscsitools.trace.sums.native import Sums, make_sums

Rows = list[tuple[ConnectionInfo, Cell]]
_MOST_DELTAS: Final = 16
"""Kept for a reader before they are added up."""
_Key = tuple[str | None, str | None, int | None, tuple[Histogram, ...], bool]
_Row = tuple[int, int, int | None, int | None, bool, bool]


@dataclass(slots=True, eq=False)
class _Group:
    """The sums that some readers share."""

    key: _Key
    sums: Sums
    busy: bool
    readers: list[Share] = field(default_factory=list)

    def drain(self) -> None:
        """Give what was counted since the last time to every reader."""
        rows, times = self.sums.read(reset=True), self.sums.busy(reset=True) or {}
        if rows or times:
            for reader in self.readers:
                reader.give(rows, times)


class Share:
    """What one reader sees of shared sums: it has what ``CommandSums`` has for reading."""

    def __init__(self, owner: SharedSums, group: _Group) -> None:
        self._owner = owner
        self._group = group
        self._deltas: list[Rows] = []
        self._busy: dict[Scope, int] = {}
        self._lost_before = group.sums.lost
        self._lost = 0
        self.histograms: Sequence[Histogram] = group.sums.histograms

    @property
    def lost(self) -> int:
        """Rows of closed connections that were given up because nobody read them."""
        return self._lost + self._group.sums.lost - self._lost_before

    def give(self, rows: Rows, times: dict[Scope, int]) -> None:
        """Keep a delta, which nobody changes any more."""
        self._busy = busy.added([self._busy, times])
        self._deltas.append(rows)
        if len(self._deltas) > _MOST_DELTAS:
            self._add_up()

    def read(self, reset: bool = False) -> Rows:
        """Return the rows that counted anything since the last reset; with ``reset`` begin again from 0."""
        self._group.drain()
        self._add_up()
        rows = list(self._deltas[0]) if self._deltas else []
        if reset:
            self._deltas.clear()
        return rows

    def busy(self, reset: bool = False) -> dict[Scope, int] | None:
        """See ``CommandSums.busy``."""
        times = self._busy
        if reset:
            self._busy = {}
        return times if self._group.busy else None

    def leave(self) -> None:
        """Read no more; the last one takes the sums down."""
        self._owner.leave(self._group, self)

    def _add_up(self) -> None:
        """Make one delta of all."""
        if len(self._deltas) < 2:
            return
        total: dict[_Row, tuple[ConnectionInfo, Cell]] = {}
        for rows in self._deltas:
            for info, cell in rows:
                key = (info.ident, cell.lun, cell.opcode, cell.service_action, cell.reads, cell.writes)
                if key in total:
                    total[key][1].add(cell)
                else:
                    total[key] = info, cell.copy()
        while len(total) > MAX_CLOSED:
            del total[next(iter(total))]
            self._lost += 1
        self._deltas = [list(total.values())]


class SharedSums:
    """The sums of all readers of a server."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._groups: dict[_Key, _Group] = {}

    def join(self, selection: Selection, histograms: Sequence[Histogram], busy: bool = False) -> Share:
        """Begin to read the sums of a client, a target, a LUN, or all; which probes are selected does not matter."""
        key = (selection.client, selection.target, selection.lun, tuple(histograms), busy)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key, make_sums(self._probes, selection, histograms, busy), busy)
            self._probes.subscribe(group.sums.mask, group.sums)
        else:
            group.drain()  # so that what was before it is not the new one's
        share = Share(self, group)
        group.readers.append(share)
        return share

    def leave(self, group: _Group, share: Share) -> None:
        """See :meth:`Share.leave`."""
        if share in group.readers:
            group.readers.remove(share)
        if not group.readers and self._groups.get(group.key) is group:
            del self._groups[group.key]
            self._probes.subscribe(0, group.sums)
            group.sums.end()

    def held(self) -> list[tuple[ConnectionInfo, int]]:
        """What is kept for commands that have not ended: each connection, and bytes."""
        return [pair for group in self._groups.values() for pair in group.sums.held()]

    def close(self, ident: int) -> None:
        """A connection was closed."""
        for group in self._groups.values():
            group.sums.close(ident)
