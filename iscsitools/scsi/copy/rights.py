"""What an initiator may have copied: the units that it reaches, and whether it may read or write them now.

A copy is done in the name of the initiator that asked for it, and may do no more than that one could do itself by
reading and writing. A unit of another target is in its reach while it is logged in there too, from the same address,
sees the unit there, and if that target asks for no more proof than the one that was asked to copy: a name alone, which
anybody can give, opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from iscsitools.scsi.core.command import Command, Flags
from iscsitools.scsi.core.errors import ScsiError, check_condition
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.sense import Asc, SenseKey

_USAGE: Final = bytes.fromhex("83 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00")
READING: Final = Command("copy, reading", 0x83, None, _USAGE, lambda task: None, Flags.MEDIUM | Flags.READS)
"""What reading a copy's source is to reservations, access states and the order of tasks."""
WRITING: Final = Command("copy, writing", 0x83, None, _USAGE, lambda task: None, Flags.MEDIUM | Flags.WRITES)
"""The same of writing its destination."""


def not_reachable() -> ScsiError:
    """COPY TARGET DEVICE NOT REACHABLE."""
    return check_condition(SenseKey.COPY_ABORTED, Asc.COPY_TARGET_NOT_REACHABLE)


@dataclass(frozen=True, slots=True)
class Party:
    """An initiator that has something copied: the nexus and the unit by which it asked."""

    nexus: Nexus
    unit: LogicalUnit

    def nexuses(self, unit: LogicalUnit) -> Iterator[Nexus]:
        """Its nexuses with a unit, its own first."""
        if self.nexus.lost or unit.removed:
            return
        if unit.device is self.unit.device:
            if self.nexus.lun_of(unit.number) >= 0:
                yield self.nexus
            return
        theirs = None if unit.device is None else unit.device.realm
        ours = None if self.unit.device is None else self.unit.device.realm
        if theirs is None or theirs == ours:
            yield from (nexus for nexus in unit.itl_nexuses if self._is_of(nexus) and nexus.lun_of(unit.number) >= 0)

    def _is_of(self, nexus: Nexus) -> bool:
        own = self.nexus
        return nexus.initiator == own.initiator and nexus.address == own.address and not nexus.lost

    def permitted(self, unit: LogicalUnit, command: Command, lba: int, blocks: int) -> Nexus:
        """The nexus by which it may do this now. Raises ScsiError when it reaches the unit by none, or none may."""
        refusal = not_reachable()
        for nexus in self.nexuses(unit):
            try:
                unit.check_state(command, _USAGE, nexus)
            except ScsiError as error:
                refusal = error
                continue
            if lba + blocks > unit.blocks:
                raise check_condition(SenseKey.ILLEGAL_REQUEST, Asc.LBA_OUT_OF_RANGE)
            return nexus
        raise refusal
