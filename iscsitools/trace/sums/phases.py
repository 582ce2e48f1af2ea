"""How a command's time divides, of commands whose events fire one by one: the rules of ``views.command_tracker``.

While a transfer is open (xfer-start to xfer-done) a write waits for the initiator's data, and a read for its data to
leave; all other time, up to its status or the end of its last transfer, is the backstore's. A command counts when both
have come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from iscsitools.probes.firing import XFER_READ
from iscsitools.trace.sums.counters import Cell
from iscsitools.trace.sums.declared import Histogram, Value
from iscsitools.trace.sums.histogram import index_of

_MOST: Final = 8192
"""Commands with transfers that are kept of a connection."""


@dataclass(slots=True, eq=False)
class _Transfers:
    """Those of one command. Times in nanoseconds; ``cell`` is there once it has ended well."""

    open: int = 0
    opened: int = 0
    kind: int = XFER_READ
    """Of those that are open."""
    sending: int = 0
    waiting: int = 0
    began: int = 0
    cell: Cell | None = None

    def has_open(self, kind: int) -> bool:
        """Whether an xfer-done of this kind can be one of these.

        It is not, where an initiator has used the tag again before it had the data of the command before: the end of
        that one's transfer comes among those of this one.
        """
        return self.open > 0 and self.kind == kind


class Phases:
    """The commands of a connection that have, or had, transfers."""

    __slots__ = ("_places", "kept", "transfers")

    def __init__(self, kept: tuple[Histogram, ...]) -> None:
        self._places = {declared.value: index for index, declared in enumerate(kept)}
        self.kept = not self._places.keys().isdisjoint((Value.BACKSTORE, Value.WAITING, Value.SENDING))
        """Whether anybody wants to know."""
        self.transfers: dict[int, _Transfers] = {}
        """By ITT."""

    def start(self, itt: int, now: int, kind: int) -> None:
        """A transfer of a command begins."""
        transfers = self.transfers.setdefault(itt, _Transfers())
        if not transfers.open:
            transfers.opened, transfers.kind = now, kind
        transfers.open += 1

    def done(self, itt: int, now: int, kind: int) -> bool:
        """One has ended: whether it is of a command that has such a one open."""
        transfers = self.transfers.get(itt)
        if transfers is None or not transfers.has_open(kind):
            return False
        transfers.open -= 1
        if transfers.open > 0:
            return True
        if kind == XFER_READ:
            transfers.sending += now - transfers.opened
        else:
            transfers.waiting += now - transfers.opened
        if transfers.cell is not None:
            del self.transfers[itt]
            self._count(transfers.cell, now - transfers.began, transfers.sending, transfers.waiting)
        return True

    def ended(self, itt: int, cell: Cell, began: int, now: int) -> None:
        """A command has ended well."""
        transfers = self.transfers.get(itt)
        if transfers is not None and transfers.open > 0:
            transfers.cell, transfers.began = cell, began
            return
        self.transfers.pop(itt, None)
        self._count(cell, now - began, *((transfers.sending, transfers.waiting) if transfers is not None else (0, 0)))

    def _count(self, cell: Cell, total: int, sending: int, waiting: int) -> None:
        for value, time in (
            (Value.BACKSTORE, total - sending - waiting),
            (Value.WAITING, waiting if cell.writes else None),
            (Value.SENDING, sending if cell.reads else None),
        ):
            if time is not None and value in self._places:
                cell.histograms[self._places[value]].counts[index_of(max(time, 0))] += 1

    def replaced(self, itt: int, now: int) -> None:
        """Another command has the tag: the initiator has all data of one that has ended well, or does not want it."""
        transfers = self.transfers.pop(itt, None)
        if transfers is not None and transfers.cell is not None:
            sending = transfers.sending + now - transfers.opened
            self._count(transfers.cell, now - transfers.began, sending, transfers.waiting)

    def forget(self, itt: int) -> None:
        """A command has ended in another way."""
        self.transfers.pop(itt, None)

    def trim(self) -> None:
        """Forget the oldest, where there are too many."""
        while len(self.transfers) > _MOST:
            del self.transfers[next(iter(self.transfers))]
