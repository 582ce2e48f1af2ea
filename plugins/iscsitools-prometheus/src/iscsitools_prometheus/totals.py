"""What has happened since the server started, by initiator and unit, within a bound on how many of them are told apart.

The server's sums are read with reset and added up here, so that the event loop makes rows only of what has counted
anything since the last scrape.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from iscsitools.lifecycle import LoginNotice, LunNotice, SessionNotice
from iscsitools.trace import CommandRow
from iscsitools.wire.scsi import Status

from iscsitools_prometheus.pauses import no_pauses

OTHER: Final = "other"
"""Stands for all initiators that have no metrics of their own, and for units that are not served."""
OPERATIONS: Final = ("read", "write", "other")
_ERRORS: Final = 64
"""Different statuses and sense codes kept of one initiator and unit; a server has fewer."""


class Unit(NamedTuple):
    """Whose metrics: ``lun`` is the number as text."""

    initiator: str
    target: str
    lun: str


@dataclass(slots=True)
class Durations:
    """Commands of one operation that ended well: how many, seconds in all, and by bucket of the server's sums."""

    count: int = 0
    seconds: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Group:
    """The totals of one :class:`Unit`."""

    commands: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0
    written_bytes: int = 0
    durations: dict[str, Durations] = field(default_factory=lambda: {name: Durations() for name in OPERATIONS})
    errors: Counter[int] = field(default_factory=Counter)
    """By (iSCSI response << 8 | SCSI status) << 24 | sense key << 16 | ASC << 8 | ASCQ."""

    def add(self, row: CommandRow) -> None:
        """Add a row of the server's sums."""
        operation = operation_of(row)
        self.commands[operation] += row.commands
        self.read_bytes += row.in_bytes
        self.written_bytes += row.out_bytes
        durations = self.durations[operation]
        durations.count += row.ended
        durations.seconds += row.latency / 1e9
        durations.buckets.update(row.histogram)
        for error, count in row.errors.items():
            self.errors[error if error in self.errors or len(self.errors) < _ERRORS else 0] += count


def operation_of(row: CommandRow) -> str:
    """``read`` and ``write`` are the READ and WRITE commands (SBC-3 5), all else is ``other``."""
    return {0x08: "read", 0x28: "read", 0xA8: "read", 0x88: "read",
            0x0A: "write", 0x2A: "write", 0xAA: "write", 0x8A: "write"}.get(row.opcode or 0, "other")  # fmt: skip


class Totals:
    """All of it. The hooks' thread and those that scrape take turns by ``lock``."""

    def __init__(self, most: int) -> None:
        self.lock = threading.RLock()
        self.groups: dict[Unit, Group] = {}
        self.luns: dict[tuple[str, str], LunNotice] = {}
        self.sessions: Counter[tuple[str, str]] = Counter()
        self.logins = 0
        self.failed_logins: Counter[int] = Counter()
        self.queue_full = 0
        """Commands that found as many in the unit's queue as allowed."""
        self._most = most

    def lun_added(self, lun: LunNotice) -> None:
        """A unit is served."""
        with self.lock:
            self.luns[lun.target, str(lun.number)] = lun

    def lun_removed(self, lun: LunNotice) -> None:
        """A unit is not served any more; what it has done stays."""
        with self.lock:
            self.luns.pop((lun.target, str(lun.number)), None)

    def session_opened(self, session: SessionNotice) -> None:
        """A session has begun."""
        with self.lock:
            self.logins += 1
            self.sessions[session.initiator, session.target] += 1

    def session_closed(self, session: SessionNotice) -> None:
        """A session has ended."""
        with self.lock:
            key = session.initiator, session.target
            self.sessions[key] -= 1
            if self.sessions[key] <= 0:
                del self.sessions[key]

    def login_failed(self, login: LoginNotice) -> None:
        """A login was refused."""
        with self.lock:
            self.failed_logins[login.status] += 1

    def add(self, rows: Iterable[CommandRow], pauses: Callable[[], None] = no_pauses) -> None:
        """Add what the server has counted. Lock held."""
        for row in rows:
            pauses()
            names = row.conn.initiator, row.conn.target, row.lun
            if len(self.groups) >= self._most and self._named(*names) not in self.groups:
                self._make_room()
            unit = self.unit_of(*names)
            # The ones that count go to the end: at the begin stands what has been idle for longest.
            group = self.groups.pop(unit, None) or Group()
            self.groups[unit] = group
            group.add(row)
            self.queue_full += sum(n for error, n in row.errors.items() if error >> 24 == Status.TASK_SET_FULL)

    def unit_of(self, initiator: str, target: str, lun: int) -> Unit:
        """Whose metrics something belongs to. Lock held."""
        unit = self._named(initiator, target, lun)
        if unit in self.groups or len(self.groups) < self._most:
            return unit
        return unit._replace(initiator=OTHER)

    def _named(self, initiator: str, target: str, lun: int) -> Unit:
        number = str(lun) if (target, str(lun)) in self.luns else OTHER
        return Unit(initiator or OTHER, target or OTHER, number)

    def _make_room(self) -> None:
        """Forget what has been idle for longest, of those that are not logged in."""
        for unit in self.groups:
            if unit.initiator != OTHER and (unit.initiator, unit.target) not in self.sessions:
                del self.groups[unit]
                return
