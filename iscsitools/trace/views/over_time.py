"""``rwlat --heatmap``, ``--plot`` and ``--phases``: what needs every command's own times, so it is made from events.

What counts as a read or a write, and from when to when, is said in :mod:`.commands`. Failed commands do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from iscsitools.probes import firing
from iscsitools.probes.lun import lun_text
from iscsitools.trace.events import Event
from iscsitools.trace.selection import address_of
from iscsitools.trace.views.command_tracker import CommandTracker
from iscsitools.trace.views.observed_command import ObservedCommand
from iscsitools.trace.views.report import Column, Report, microseconds, table
from iscsitools.trace.views.timegrid import TimeGrid
from iscsitools.trace.views.width import fold

OPERATIONS: Final = ("read", "write")
_PHASES: Final = ("client", "target", "lun", "event", "count", "backstore_ns", "waiting_ns", "sending_ns")

COMMAND_MASK: Final = (
    firing.SCSI_COMMAND
    | firing.SCSI_RESPONSE
    | firing.DATA_SEND
    | firing.TASK_COMMAND
    | firing.TASK_RESPONSE
    | firing.LOGIN_RESPONSE
    | firing.LOGOUT_RESPONSE
)
"""The probes that begin and end commands."""


class GridView:
    """Latencies over time, for all clients together, by operation."""

    mask = COMMAND_MASK

    def __init__(self, columns: int) -> None:
        self._tracker = CommandTracker()
        self._columns = columns
        self.grids: dict[str, TimeGrid] = {}
        self._start: int | None = None

    def feed(self, event: Event) -> None:
        """Take an event."""
        if self._start is None:
            self._start = event.time
        for command in self._tracker.feed(event):
            if command.operation and not command.failed:
                if command.operation not in self.grids:
                    self.grids[command.operation] = TimeGrid(self._start, self._columns)
                self.grids[command.operation].add(command.end, command.latency)

    def closed(self, ident: int) -> None:
        """A connection is no more."""
        self._tracker.closed(ident)

    def clear(self) -> None:
        """Begin a new interval; commands that are under way stay known."""
        self.grids.clear()
        self._start = None

    def level(self) -> list[tuple[str, TimeGrid]]:
        """The grids, reads first, their columns of one width."""
        width = max((grid.width for grid in self.grids.values()), default=0)
        for grid in self.grids.values():
            grid.widen(width)
        return [(operation, self.grids[operation]) for operation in OPERATIONS if operation in self.grids]


@dataclass(slots=True)
class _Phases:
    count: int = 0
    backstore: int = 0
    waiting: int = 0
    sending: int = 0


@dataclass(slots=True)
class PhaseView:
    """Where the time went, on average, by client, LUN and operation."""

    mask: int = COMMAND_MASK | firing.XFER_START | firing.XFER_DONE
    _tracker: CommandTracker = field(default_factory=lambda: CommandTracker(settle=True))
    _sums: dict[tuple[str, str, int, str], _Phases] = field(default_factory=dict)
    """By target, client, LUN and operation."""

    def feed(self, event: Event) -> None:
        """Take an event."""
        for command in self._tracker.feed(event):
            if command.operation and not command.failed:
                self._count(command)

    def _count(self, command: ObservedCommand) -> None:
        key = (command.conn.target, address_of(command.conn.remote), command.lun, command.operation)
        sums = self._sums.setdefault(key, _Phases())
        sums.count += 1
        sums.backstore += command.backstore
        sums.waiting += command.waiting
        sums.sending += command.sending

    def closed(self, ident: int) -> None:
        """A connection is no more."""
        for command in self._tracker.closed(ident):
            if command.operation and not command.failed:
                self._count(command)

    def clear(self) -> None:
        """Begin a new interval; commands that are under way stay known."""
        self._sums.clear()

    def report(self, elapsed: int) -> Report:
        """Averages in microseconds; a table for each target, whose units have numbers of their own."""
        exact = []
        tables: dict[str, list[list[str | int]]] = {}
        for (target, client, lun, operation), sums in sorted(self._sums.items()):
            averages = [n // sums.count for n in (sums.backstore, sums.waiting, sums.sending)]
            exact.append((client, target, lun, operation, sums.count, *averages))
            rows = tables.setdefault(target, [])
            rows.append([client, lun, operation, sums.count, *averages, sum(averages)])
        columns = [Column("REMOTE IP", -16), Column("LUN", 3, lun_text), Column("EVENT", -5), Column("COUNT", 8)]
        columns += [Column(name, 9, microseconds) for name in ("BACKSTORE", "WAITING", "SENDING", "TOTAL")]
        lines = ["Average time (us)"]
        for target, rows in tables.items():
            lines += ["", *fold(target, "  "), *table(columns, rows)]
        return Report(_PHASES, exact, lines if tables else [*lines, *table(columns, [])])
