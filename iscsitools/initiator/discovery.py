"""SendTargets discovery: which targets a portal knows, and where they are (RFC 7143 appendix C)."""

from __future__ import annotations

from dataclasses import dataclass, field

from iscsitools.initiator.channel import Address
from iscsitools.initiator.session import Session


@dataclass(frozen=True)
class DiscoveredTarget:
    """A target by its name, with its portals as ``address:port,portal group tag``."""

    name: str
    addresses: list[str] = field(default_factory=list)


def discover(
    address: Address,
    *,
    initiator: str = "iqn.2026-11.example:initiator",
    chap: tuple[str, str] | None = None,
    mutual: tuple[str, str] | None = None,
    timeout: float = 30.0,
) -> list[DiscoveredTarget]:
    """Ask a portal for all targets that this initiator may see, in the target's order, in a discovery session.

    Arguments and errors are those of :meth:`Session.connect`.
    """
    with Session.connect(
        address, initiator=initiator, discovery=True, chap=chap, mutual=mutual, timeout=timeout
    ) as session:
        found: list[DiscoveredTarget] = []
        for key, value in session.send_targets():
            if key == "TargetName":
                found.append(DiscoveredTarget(value))
            elif key == "TargetAddress" and found:
                found[-1].addresses.append(value)
        session.logout()
    return found
