"""The medium of a removable unit: loaded, started, locked; TEST UNIT READY and the commands that change this."""

from __future__ import annotations

from iscsitools.scsi.command import Call
from iscsitools.scsi.errors import ScsiError, check_condition
from iscsitools.scsi.sense import Asc, SenseKey
from iscsitools.scsi.task import Nexus


class Medium:
    """The state of the medium, which no reset changes. ``removable``: it can be ejected and locked.

    Not removable units can still be stopped and started (SBC-3 5.25).
    """

    __slots__ = ("loaded", "locks", "removable", "started")

    def __init__(self, removable: bool) -> None:
        self.removable = removable
        self.loaded = True
        self.started = True
        self.locks: set[Nexus] = set()

    @property
    def ready(self) -> bool:
        """Whether medium access commands are possible."""
        return self.loaded and self.started

    def not_ready(self) -> ScsiError:
        """Why they are not."""
        if not self.loaded:
            return check_condition(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
        return check_condition(SenseKey.NOT_READY, Asc.NOT_READY_INITIALIZING_COMMAND_REQUIRED)


def test_unit_ready(call: Call) -> None:
    """TEST UNIT READY (SPC-4 6.47): the checks that every medium command goes through have said it all."""


def check_start_stop(call: Call) -> None:
    """START STOP UNIT: ejecting is for removable units, and not while an initiator prevents it (SBC-3 5.25)."""
    cdb = call.task.cdb
    power_condition, load_eject, start = cdb[4] >> 4, cdb[4] & 2, cdb[4] & 1
    medium = call.unit.medium
    if not power_condition and load_eject and not start and medium.loaded and medium.locks:
        raise check_condition(SenseKey.ILLEGAL_REQUEST, Asc.MEDIUM_REMOVAL_PREVENTED)


def start_stop_unit(call: Call) -> None:
    """START STOP UNIT (SBC-3 5.25).

    With a POWER CONDITION, START and LOEJ are ignored; there is no power to save here, so every condition is GOOD.
    What is in a volatile cache is written out before the unit stops or ejects, unless NO_FLUSH is set.
    """
    cdb = call.task.cdb
    if cdb[4] >> 4:
        return
    check_start_stop(call)
    unit, medium = call.unit, call.unit.medium
    start, eject = bool(cdb[4] & 1), bool(cdb[4] & 2) and call.unit.medium.removable
    if eject:
        arrives = start and not medium.loaded
        medium.loaded = start
        if arrives:
            unit.attention(Asc.MEDIUM_MAY_HAVE_CHANGED, but=call.task.nexus)
    medium.started = start or eject
    unit.refresh()


def prevent_allow(call: Call) -> None:
    """PREVENT ALLOW MEDIUM REMOVAL (SPC-4 6.16): a lock per I_T nexus; the medium may go when none is left."""
    locks = call.unit.medium.locks
    if call.task.cdb[4] & 1:
        locks.add(call.task.nexus)
    else:
        locks.discard(call.task.nexus)
