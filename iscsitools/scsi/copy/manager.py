"""The copy manager: the operations of a server, how many there may be, and what is remembered of those that ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from iscsitools.scsi.copy.operation import CopyOperation, CopyState
from iscsitools.scsi.copy.tokens import Tokens
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.errors import ScsiError, illegal_request
from iscsitools.scsi.core.executor import Elsewhere
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc

MOST_AT_ONCE: Final = 56
"""Operations of a server that run at once; one more gets BUSY.

More than the 50 that libiscsi's iscsi-dd begins, which takes no BUSY. Each takes two places of a unit's task set.
"""
MOST_KEPT: Final = 64
"""Operations of a unit whose end is remembered; the oldest is forgotten for a new one."""


class CopyManager:
    """The operations of a server that run."""

    def __init__(self, domain: Domain) -> None:
        self.running: dict[CopyOperation, None] = {}

    def admit(self, operation: CopyOperation) -> None:
        """Count an operation in, until it has ended. Raises ScsiError BUSY when there are as many as may be."""
        if len(self.running) >= MOST_AT_ONCE:
            raise ScsiError(Status.BUSY)
        self.running[operation] = None

    def leave(self, operation: CopyOperation) -> None:
        """It has ended."""
        self.running.pop(operation, None)


class CopyKind(Enum):
    """List identifiers of one byte and of four are different ones (SPC-4 5.17.3)."""

    LID1 = 1
    LID4 = 4


@dataclass(slots=True)
class Known:
    """An operation that its initiator can ask about. ``service_action``: of the command that began it."""

    service_action: int
    operation: CopyOperation
    tokens: tuple[bytes, ...] = ()
    in_background: bool = False


class Copies(Part):
    """The operations that a unit was asked for, by nexus and list identifier (SPC-4 5.17.4)."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self._known: dict[tuple[Nexus, CopyKind, int], Known] = {}

    def find(self, nexus: Nexus, kind: CopyKind, identifier: int) -> Known | None:
        """The one of that list identifier."""
        return self._known.get((nexus, kind, identifier))

    def check_free(self, nexus: Nexus, kind: CopyKind, identifier: int) -> None:
        """Raise OPERATION IN PROGRESS when that list identifier's operation has not ended (SPC-4 6.4.1)."""
        known = self.find(nexus, kind, identifier)
        if known is not None and known.operation.state is CopyState.RUNNING:
            raise illegal_request(Asc.OPERATION_IN_PROGRESS)

    def begin(self, task: Task, known: Known, kind: CopyKind, identifier: int | None) -> Elsewhere | None:
        """Begin an operation; None when it goes on behind the command, else what the command waits for."""
        operation, manager = known.operation, self.unit.domain.part(CopyManager)
        manager.admit(operation)
        operation.ended = manager.leave
        if identifier is not None:
            self.keep(task.nexus, kind, identifier, known)
        if known.in_background:
            operation.begin()
            return None
        return Elsewhere(operation, _nothing, withdrawable=True)

    def keep(self, nexus: Nexus, kind: CopyKind, identifier: int, known: Known) -> None:
        """Remember an operation; the oldest that has ended may be forgotten for it."""
        key = (nexus, kind, identifier)
        self._known.pop(key, None)
        if len(self._known) >= MOST_KEPT:
            ended = [key for key, old in self._known.items() if old.operation.state is not CopyState.RUNNING]
            for old in ended[: len(self._known) - MOST_KEPT + 1]:
                del self._known[old]
        self._known[key] = known

    def reset(self) -> None:
        """A logical unit reset ends all operations that the unit was asked for (SPC-4 5.17.2)."""
        for known in list(self._known.values()):
            known.operation.stop()

    def nexus_lost(self, nexus: Nexus) -> None:
        """Its operations end, and nobody can ask about them any more."""
        for key in [key for key in self._known if key[0] is nexus]:
            self._known.pop(key).operation.stop()
        self.unit.domain.part(Tokens).nexus_lost(nexus)


def _nothing() -> None:
    """The work is the operation's."""
