"""I_T nexuses: who talks to which port (SAM-5 3.1.50)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Nexus:
    """An I_T nexus: one initiator port in session with one target port.

    ``initiator_port`` is the initiator port's name as SPC-4 7.6.4.5 wants it in a TransportID: for iSCSI
    ``IQN,i,0xISID``. ``target_port`` is the relative target port identifier.
    """

    initiator: str
    initiator_port: str
    target_port: int = 1
    luns: Mapping[int, int] | None = None
    """Numbers of the units that it sees, by the LUNs that it knows them by; None: all, by their own numbers."""
    address: str = ""
    """Where the initiator is, as far as the transport knows: part of who it is to other targets."""
    lost: bool = False
    """Set by ``ScsiDevice.detach``: the results of its tasks go nowhere."""
    gather: Callable[[], None] = lambda: None
    """Has the transport bring in commands that it has begun and not handed over (``ScsiDevice.bring_in``)."""
    used: set[int] = field(default_factory=set)
    """The numbers of the units that it has sent a command; kept for the list of sessions."""

    def unit_of(self, lun: int) -> int:
        """The number of the unit that it knows by this LUN; -1: none that it sees."""
        return lun if self.luns is None else self.luns.get(lun, -1)

    def lun_of(self, number: int) -> int:
        """The LUN that it knows a unit by; -1: it does not see that unit."""
        if self.luns is None:
            return number
        return next((lun for lun, unit in self.luns.items() if unit == number), -1)

    def luns_of(self, numbers: Iterable[int]) -> list[int]:
        """The LUNs that it knows these units by, without those that it does not see."""
        return [lun for number in numbers if (lun := self.lun_of(number)) >= 0]
