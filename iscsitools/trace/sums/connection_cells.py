"""What the sums keep of one connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.sums.arrivals import MAX_STARTS, Arrivals
from iscsitools.trace.sums.busy import Spans, end_all
from iscsitools.trace.sums.counters import Cell, Key, Starts
from iscsitools.trace.sums.phases import Phases


@dataclass(slots=True, eq=False)
class ConnectionCells:
    """Its rows, and its commands that have begun and not ended."""

    info: ConnectionInfo
    arrivals: Arrivals
    phases: Phases
    clock: Callable[[], int]
    generation: int = -1
    admitted: bool = False
    cells: dict[Key, Cell] = field(default_factory=dict)
    """By LUN, operation code, service action and direction."""
    aliases: dict[int, Cell] = field(default_factory=dict)
    """The same cells by LUN << 16 | operation code << 8 | flags: the hot path's key."""
    starts: Starts = field(default_factory=dict)
    answered: int | None = None
    """The StatSN of the last answer that was seen by itself."""
    spans: dict[int, Spans] = field(default_factory=dict)
    """By LUN, what its commands make busy."""
    functions: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Unanswered task management functions by ITT: function, LUN, Referenced Task Tag."""

    def fold(self) -> None:
        """Work in what is recent."""
        self.arrivals.fold()
        for cell in self.cells.values():
            cell.fold()

    def forget(self, itt: int) -> None:
        """A command gets no status."""
        start = self.starts.pop(itt, None)
        if start is not None and start[1].spans:
            end_all(start[1].spans, self.clock())
        self.phases.forget(itt)

    def forget_all(self, lun: int | None) -> None:
        """No command to a LUN, or to any, gets one."""
        for tag in [tag for tag, (_, cell) in self.starts.items() if lun is None or cell.lun == lun]:
            self.forget(tag)

    def trim(self) -> None:
        """Forget the oldest that have not ended, where there are too many."""
        while len(self.starts) > MAX_STARTS:
            self.forget(next(iter(self.starts)))
        self.phases.trim()

    def end(self) -> None:
        """Give back what is kept of commands: this and what finds its rows hold each other for a while."""
        self.starts.clear()
        self.aliases.clear()
        self.cells.clear()
