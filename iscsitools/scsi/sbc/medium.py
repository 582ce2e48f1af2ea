"""The medium of a removable unit: loaded, locked; TEST UNIT READY and the commands that change this."""

from __future__ import annotations

from iscsitools.scsi.core.command import Call, Work
from iscsitools.scsi.core.errors import ScsiError, check_condition, illegal_request, invalid_field
from iscsitools.scsi.core.task import Nexus
from iscsitools.wire.sense import Asc, SenseKey

_NO_FLUSH, _LOEJ, _START = 0x04, 0x02, 0x01


class Medium:
    """The state of the medium, which no reset changes. ``removable``: it can be ejected and locked.

    There is no stopped power condition: nothing turns, and a unit that one initiator stopped would be lost to all.
    """

    __slots__ = ("loaded", "locks", "removable")

    def __init__(self, removable: bool) -> None:
        self.removable = removable
        self.loaded = True
        self.locks: set[Nexus] = set()

    def not_ready(self) -> ScsiError:
        """The answer to a medium access command while no medium is loaded."""
        return check_condition(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)


def test_unit_ready(call: Call) -> None:
    """TEST UNIT READY (SPC-4 6.47): the checks that every medium command goes through have said it all."""


def check_start_stop(call: Call) -> None:
    """START STOP UNIT: loading and ejecting is for removable units, and not while an initiator prevents it."""
    cdb, medium = call.task.cdb, call.unit.medium
    if cdb[4] >> 4 or not cdb[4] & _LOEJ:
        return
    if not medium.removable:
        raise invalid_field(4, 1)
    if medium.locks:
        raise illegal_request(Asc.MEDIUM_REMOVAL_PREVENTED)


def start_stop_unit(call: Call) -> Work | None:
    """START STOP UNIT (SBC-3 5.25).

    With a POWER CONDITION, START and LOEJ are ignored; there is no power to save here, so every condition is GOOD.
    To stop is to write out what is in a volatile cache, unless NO_FLUSH is set.
    """
    cdb, unit, medium = call.task.cdb, call.unit, call.unit.medium
    if cdb[4] >> 4:
        return None
    check_start_stop(call)
    start = bool(cdb[4] & _START)
    if cdb[4] & _LOEJ:
        if start and not medium.loaded:
            unit.attention(Asc.MEDIUM_MAY_HAVE_CHANGED, but=call.task.nexus)
        medium.loaded = start
        unit.refresh()
    flush = not start and not cdb[4] & _NO_FLUSH and unit.capabilities.volatile_cache
    return unit.store.flush if flush else None


def prevent_allow(call: Call) -> None:
    """PREVENT ALLOW MEDIUM REMOVAL (SBC-3 5.10): a lock per I_T nexus; the medium may go when none is left."""
    locks = call.unit.medium.locks
    if call.task.cdb[4] & 1:
        locks.add(call.task.nexus)
    else:
        locks.discard(call.task.nexus)
