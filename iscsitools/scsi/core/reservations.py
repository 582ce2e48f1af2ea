"""Who may use a logical unit: RESERVE and RELEASE (SPC-2 7.19 to 7.22) and persistent reservations together."""

from __future__ import annotations

from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.command import Call, Flags
from iscsitools.scsi.core.errors import invalid_field, reservation_conflict
from iscsitools.scsi.core.registrations import Port, Registrations
from iscsitools.scsi.core.task import Nexus

_RELEASE_6, _RELEASE_10 = 0x17, 0x57
_THIRD_PARTY, _LONG_ID, _EXTENT = 0x10, 0x02, 0x01


class Reservations:
    """The two kinds of reservation of one unit. At most one kind is in use at a time (SPC-4 5.13.3, CRH 0)."""

    __slots__ = ("holder", "persistent")

    def __init__(self) -> None:
        self.holder: Nexus | None = None
        """Who holds the unit by RESERVE."""
        self.persistent = Registrations()

    def permits(self, nexus: Nexus, reads: bool) -> bool:
        """Whether a READ (``reads``) or a WRITE of this nexus is allowed."""
        if self.holder is not None:
            return self.holder is nexus
        return self.persistent.kind is None or self.persistent.permits(Port.of(nexus), reads)

    def check(self, call: Call) -> None:
        """Raise RESERVATION CONFLICT when a reservation forbids this command to its nexus."""
        flags, nexus = call.command.flags, call.task.nexus
        if self.holder is not None and self.holder is not nexus:
            if Flags.BEFORE_RESERVE not in flags and not _allows_removal(call):
                raise reservation_conflict()
        elif self.persistent.kind is not None and Flags.SHARED not in flags:
            permitted = self.persistent.permits(Port.of(nexus), Flags.READS in flags)
            if not permitted and not _allows_removal(call):
                raise reservation_conflict()


def _allows_removal(call: Call) -> bool:
    """PREVENT ALLOW MEDIUM REMOVAL with PREVENT 0 is always allowed; START STOP UNIT with START 1 likewise."""
    cdb = call.task.cdb
    if cdb[0] == 0x1E:
        return not cdb[4] & 1
    return cdb[0] == 0x1B and cdb[4] & 0xF1 == 1 and call.unit.reservations.holder is None


def check_reserve(call: Call) -> None:
    """RESERVE and RELEASE: no third party and no extents, and none of it beside persistent registrations."""
    cdb = call.task.cdb
    if cdb[0] & 0x40 and u16(cdb, 7):
        raise invalid_field(7)
    if call.unit.reservations.persistent.keys:
        raise reservation_conflict()


def reserve(call: Call) -> None:
    """RESERVE(6), (10): the unit is this nexus's until RELEASE, the end of the nexus or a reset."""
    reservations = call.unit.reservations
    if reservations.holder not in (None, call.task.nexus) or reservations.persistent.keys:
        raise reservation_conflict()
    reservations.holder = call.task.nexus
    call.unit.refresh()


def release(call: Call) -> None:
    """RELEASE(6), (10): GOOD and without effect when the unit is another's (SPC-2 7.13.1)."""
    reservations = call.unit.reservations
    if reservations.holder is call.task.nexus:
        reservations.holder = None
        call.unit.refresh()
