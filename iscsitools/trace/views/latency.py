"""``rwlat``: read and write latencies by client, counted from events.

What counts as a read or a write, and from when to when, is said in :mod:`.commands`. Failed commands are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from iscsitools.probes import sites
from iscsitools.trace.events import Event
from iscsitools.trace.views.commands import Command, CommandTracker
from iscsitools.trace.views.grouping import client_of
from iscsitools.trace.views.histogram import Latencies
from iscsitools.trace.views.report import Column, Report, table
from iscsitools.trace.views.timegrid import TimeGrid

OPERATIONS: Final = ("read", "write")

COMMAND_MASK: Final = (
    sites.SCSI_COMMAND
    | sites.SCSI_RESPONSE
    | sites.DATA_SEND
    | sites.TASK_COMMAND
    | sites.TASK_RESPONSE
    | sites.LOGIN_RESPONSE
    | sites.LOGOUT_RESPONSE
)
"""The probes that begin and end commands."""

Key = tuple[str, str]
"""Client, operation."""

_PERCENTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


@dataclass(slots=True)
class _Phases:
    count: int = 0
    backstore: int = 0
    waiting: int = 0
    sending: int = 0


class PercentileView:
    """``rwlat --percentiles``: p50, p90, p99, p99.9 and the maximum, by client and operation."""

    mask = COMMAND_MASK

    def __init__(self) -> None:
        self._tracker = CommandTracker()
        self._latencies: dict[Key, Latencies] = {}
        self._failed: dict[Key, int] = {}

    def feed(self, event: Event) -> None:
        """Take an event."""
        for command in self._tracker.feed(event):
            key = (client_of(command.conn.remote), command.operation)
            if not command.operation or command.aborted:
                continue
            if command.failed:
                self._failed[key] = self._failed.get(key, 0) + 1
            else:
                self._latencies.setdefault(key, Latencies()).add(command.latency)

    def clear(self) -> None:
        """Begin a new interval; commands that are under way stay known."""
        self._latencies.clear()
        self._failed.clear()

    def report(self, elapsed: int) -> Report:
        """A row per client and operation, in microseconds."""
        records = [self._record(key) for key in sorted(self._latencies.keys() | self._failed.keys())]
        columns = [Column("REMOTE IP", -16), Column("EVENT", -5), Column("COUNT", 8)]
        columns += [Column(name, 8, _microseconds) for name, _ in _PERCENTILES] + [Column("max", 8, _microseconds)]
        lines = ["Latency (us)", *table(columns, [list(record.values())[:-1] for record in records])]
        return Report(list(records), lines + failed_lines(self._failed))

    def _record(self, key: Key) -> dict[str, str | int]:
        latencies = self._latencies.get(key, Latencies())
        record: dict[str, str | int] = {"client": key[0], "event": key[1], "count": latencies.count}
        record |= {f"{name}_ns": latencies.percentile(fraction) for name, fraction in _PERCENTILES}
        return record | {"max_ns": latencies.maximum, "failed": self._failed.get(key, 0)}


class GridView:
    """``rwlat --heatmap`` and ``--plot``: latencies over time, for all clients together, by operation."""

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

    def clear(self) -> None:
        """Begin a new interval."""
        self.grids.clear()
        self._start = None

    def level(self) -> list[tuple[str, TimeGrid]]:
        """The grids, reads first, their columns of one width."""
        width = max((grid.width for grid in self.grids.values()), default=0)
        for grid in self.grids.values():
            grid.widen(width)
        return [(operation, self.grids[operation]) for operation in OPERATIONS if operation in self.grids]


@dataclass(slots=True)
class PhaseView:
    """``rwlat --phases``: where the time went, on average, by client, LUN and operation."""

    mask = COMMAND_MASK | sites.XFER_START | sites.XFER_DONE
    _tracker: CommandTracker = field(default_factory=lambda: CommandTracker(settle=True))
    _sums: dict[tuple[str, str, int, str], _Phases] = field(default_factory=dict)

    def feed(self, event: Event) -> None:
        """Take an event."""
        for command in self._tracker.feed(event):
            if command.operation and not command.failed:
                self._count(command)

    def _count(self, command: Command) -> None:
        key = (client_of(command.conn.remote), command.conn.target, command.lun, command.operation)
        sums = self._sums.setdefault(key, _Phases())
        sums.count += 1
        sums.backstore += command.backstore
        sums.waiting += command.waiting
        sums.sending += command.sending

    def clear(self) -> None:
        """Begin a new interval; commands that are under way stay known."""
        self._sums.clear()

    def report(self, elapsed: int) -> Report:
        """Averages in microseconds."""
        records = []
        rows = []
        for (client, target, lun, operation), sums in sorted(self._sums.items()):
            averages = [n // sums.count for n in (sums.backstore, sums.waiting, sums.sending)]
            records.append(
                {"client": client, "target": target, "lun": lun, "event": operation, "count": sums.count}
                | dict(zip(("backstore_ns", "waiting_ns", "sending_ns"), averages, strict=True))
            )
            rows.append([client, lun, operation, sums.count, *averages, sum(averages)])
        columns = [Column("REMOTE IP", -16), Column("LUN", 3), Column("EVENT", -5), Column("COUNT", 8)]
        columns += [Column(name, 9, _microseconds) for name in ("BACKSTORE", "WAITING", "SENDING", "TOTAL")]
        return Report(list(records), ["Average time (us)", *table(columns, rows)])


def failed_lines(failed: dict[Key, int]) -> list[str]:
    """A line for each client and operation of which commands failed."""
    return [f"   {client}: {count} {operation}s failed" for (client, operation), count in sorted(failed.items())]


def _microseconds(nanoseconds: int) -> str:
    us = nanoseconds / 1000
    return f"{us:.1f}" if us < 100_000 else f"{us:.0f}"
