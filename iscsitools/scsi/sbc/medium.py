"""The medium of a removable unit: loaded, locked; TEST UNIT READY and the commands that change this."""

from __future__ import annotations

from typing import Any

from iscsitools.backstores.asynchronous import flush_request
from iscsitools.scsi.core.errors import check_condition, illegal_request, invalid_field
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.wire.sense import Asc, SenseKey

_NO_FLUSH, _LOEJ, _START = 0x04, 0x02, 0x01


class Medium(Part):
    """The state of the medium, which no reset changes but for its locks.

    There is no stopped power condition: nothing turns, and a unit that one initiator stopped would be lost to all.
    """

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self.loaded = True
        self.locks: set[Nexus] = set()

    def reset(self) -> None:
        """All locks end."""
        self.locks.clear()

    def state(self) -> Any:
        """Whether the medium is there; locks end with their nexuses."""
        return self.loaded

    def take_state(self, state: Any) -> None:
        """Eject what was ejected."""
        if not state:
            self.load(False)

    def nexus_lost(self, nexus: Nexus) -> None:
        """Its lock ends."""
        self.locks.discard(nexus)

    def load(self, there: bool) -> None:
        """Load or eject the medium."""
        self.loaded = there
        self.unit.not_ready = None if there else check_condition(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
        self.unit.refresh()


def test_unit_ready(task: Task) -> None:
    """TEST UNIT READY (SPC-4 6.47): the checks that every medium command goes through have said it all."""


def check_start_stop(task: Task) -> None:
    """START STOP UNIT: loading and ejecting is for removable units, and not while an initiator prevents it.

    To load what is loaded moves nothing. While something is being done to the whole medium, or has failed, no form of
    the command is let through (SBC-3 4.11, 5.3).
    """
    cdb, medium = task.cdb, Medium.of(task.unit)
    if medium.loaded and task.unit.not_ready is not None:
        raise task.unit.not_ready
    if cdb[4] >> 4 or not cdb[4] & _LOEJ:
        return
    if not task.unit.options.removable:
        raise invalid_field(4, 1)
    if medium.locks and (not cdb[4] & _START or not medium.loaded):
        raise illegal_request(Asc.MEDIUM_REMOVAL_PREVENTED)


def start_stop_unit(task: Task) -> Work | None:
    """START STOP UNIT (SBC-3 5.25).

    With a POWER CONDITION, START and LOEJ are ignored; there is no power to save here, so every condition is GOOD.
    To stop is to write out what is in a volatile cache, unless NO_FLUSH is set.
    """
    cdb, unit, medium = task.cdb, task.unit, Medium.of(task.unit)
    if cdb[4] >> 4:
        return None
    check_start_stop(task)
    start = bool(cdb[4] & _START)
    if cdb[4] & _LOEJ:
        if start and not medium.loaded:
            unit.attention(Asc.MEDIUM_MAY_HAVE_CHANGED, but=task.nexus)
        medium.load(start)
    flush = not start and not cdb[4] & _NO_FLUSH and unit.capabilities.volatile_cache
    return flush_request() if flush else None


def prevent_allow(task: Task) -> None:
    """PREVENT ALLOW MEDIUM REMOVAL (SBC-3 5.10): a lock per I_T nexus; the medium may go when none is left."""
    locks = Medium.of(task.unit).locks
    if task.cdb[4] & 1:
        locks.add(task.nexus)
    else:
        locks.discard(task.nexus)
