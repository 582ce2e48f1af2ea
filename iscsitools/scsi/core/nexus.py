"""I_T nexuses: who talks to which port (SAM-5 3.1.50)."""

from __future__ import annotations

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
    lost: bool = False
    """Set by ``ScsiDevice.detach``: the results of its tasks go nowhere."""
    used: set[int] = field(default_factory=set)
    """The numbers of the units that it has sent a command; kept for the list of sessions."""
