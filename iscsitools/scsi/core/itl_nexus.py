"""What one I_T nexus is to one logical unit: unit attentions, and the gates of the transport's fast path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iscsitools.scsi.core.gate import Gate
from iscsitools.scsi.core.task import Nexus
from iscsitools.wire.sense import Asc

if TYPE_CHECKING:
    from iscsitools.scsi.core.unit import LogicalUnit


class ItlNexus:
    """An I_T_L nexus (SAM-5 3.1.51). ``gate``: opened and closed here whenever the unit's state changes."""

    __slots__ = ("attentions", "gate", "nexus", "unit")

    def __init__(self, nexus: Nexus, unit: LogicalUnit) -> None:
        self.nexus = nexus
        self.unit = unit
        self.attentions: list[Asc] = []
        self.gate = Gate(unit.number, unit.store, unit.block_size, unit.blocks)

    def attention(self, asc: Asc) -> None:
        """Queue a unit attention condition (SAM-5 5.14).

        A condition that is already pending is not queued again; a reset makes those before it void (SPC-4 table 44).
        """
        if asc in (Asc.POWER_ON_OR_RESET, Asc.BUS_DEVICE_RESET):
            self.attentions = [asc]
        elif asc not in self.attentions:
            self.attentions.append(asc)
        self.refresh()

    def take_attention(self) -> Asc | None:
        """The oldest pending unit attention, which is then cleared; None: there is none."""
        if not self.attentions:
            return None
        asc = self.attentions.pop(0)
        self.refresh()
        return asc

    def clear_attention(self, asc: Asc) -> None:
        """Forget one kind of unit attention (SPC-4 6.33: REPORT LUNS clears its own)."""
        if asc in self.attentions:
            self.attentions.remove(asc)
            self.refresh()

    def refresh(self) -> None:
        """Recompute the gate."""
        unit, gate = self.unit, self.gate
        gate.blocks = unit.blocks
        open_ = not self.attentions and unit.unobstructed and not self.nexus.lost
        gate.read_open = open_ and unit.reservations.permits(self.nexus, reads=True)
        gate.write_open = open_ and unit.fast_writes and unit.reservations.permits(self.nexus, reads=False)
