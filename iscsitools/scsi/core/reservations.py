"""Who may use a logical unit: RESERVE (SPC-2 7.19 to 7.22) and persistent reservations (SPC-4 5.13) together."""

from __future__ import annotations

from iscsitools.scsi.core.command import Command, Flags
from iscsitools.scsi.core.errors import reservation_conflict
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.registrations import Port, Registrations


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

    def check(self, command: Command, cdb: bytes, nexus: Nexus) -> None:
        """Raise RESERVATION CONFLICT when a reservation forbids this command to the nexus."""
        flags = command.flags
        if self.holder is not None and self.holder is not nexus:
            if Flags.BEFORE_RESERVE not in flags and not command.allowed(cdb, False):
                raise reservation_conflict()
        elif self.persistent.kind is not None and Flags.SHARED not in flags:
            permitted = self.persistent.permits(Port.of(nexus), Flags.READS in flags)
            if not permitted and not command.allowed(cdb, True):
                raise reservation_conflict()
