"""RESERVE and RELEASE (SPC-2 7.13, 7.19 to 7.22), and what a reservation leaves to everybody."""

from __future__ import annotations

from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import invalid_field, reservation_conflict
from iscsitools.scsi.core.task import Task


def check_reserve(task: Task) -> None:
    """RESERVE and RELEASE: no third party and no extents, and none of it beside persistent registrations."""
    cdb = task.cdb
    if cdb[0] & 0x40 and u16(cdb, 7):
        raise invalid_field(7)
    if task.unit.reservations.persistent.keys:
        raise reservation_conflict()


def reserve(task: Task) -> None:
    """RESERVE(6), (10): the unit is this nexus's until RELEASE, the end of the nexus or a reset."""
    reservations = task.unit.reservations
    if reservations.holder not in (None, task.nexus) or reservations.persistent.keys:
        raise reservation_conflict()
    reservations.holder = task.nexus
    task.unit.refresh()


def release(task: Task) -> None:
    """RELEASE(6), (10): GOOD and without effect when the unit is another's (SPC-2 7.13.1)."""
    reservations = task.unit.reservations
    if reservations.holder is task.nexus:
        reservations.holder = None
        task.unit.refresh()


def allows_removal(cdb: bytes, persistent: bool) -> bool:
    """PREVENT ALLOW MEDIUM REMOVAL with PREVENT 0 is always allowed (SPC-2 table 10, SPC-4 table 66)."""
    return not cdb[4] & 1


def allows_start(cdb: bytes, persistent: bool) -> bool:
    """START STOP UNIT that only starts is allowed under another's persistent reservation (SBC-3 table 13)."""
    return persistent and cdb[4] & 0xF1 == 1
