"""Who may see a target and which of its units: names, networks, and maps of LUNs.

An access list lets an initiator in by its name and by the network that it comes from. A map says besides which units
it sees, and under which numbers: for everyone else they are not there (REPORT LUNS, INQUIRY, discovery).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from iscsitools.wire.names import fold_name


def matches(initiator: str, patterns: Sequence[str]) -> bool:
    """Whether an initiator name is among these patterns (``*``, ``?``, ``[]``); no patterns: every name is."""
    if not patterns:
        return True
    name = fold_name(initiator)
    return any(fnmatchcase(name, fold_name(pattern)) for pattern in patterns)


def within(address: str, networks: Sequence[str]) -> bool:
    """Whether an IP address lies in one of these networks (``192.0.2.0/24``); no networks: every address does.

    An IPv4 address that came in over IPv6 counts as IPv4; a scope means nothing here.
    """
    if not networks:
        return True
    try:
        plain = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = plain.ipv4_mapped if isinstance(plain, ipaddress.IPv6Address) else None
    return any((mapped or plain) in ipaddress.ip_network(network) for network in networks)


@dataclass(frozen=True, slots=True)
class AccessList:
    """Whom something is for: ``initiators`` are patterns of names, ``networks`` CIDR; empty: all. Both have to fit."""

    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def admits(self, initiator: str, address: str) -> bool:
        """Whether it is for an initiator of that name that comes from that IP address."""
        return not self.keeps_out(initiator, address)

    def keeps_out(self, initiator: str, address: str) -> str:
        """Why it is not for such an initiator, in words for the log; empty: it is."""
        if not matches(initiator, self.initiators):
            return "its name is none of the target's initiators"
        return "" if within(address, self.networks) else f"{address} is in none of the target's networks"


@dataclass(frozen=True, slots=True)
class LunMap:
    """What some initiators see of a target.

    ``luns``: unit numbers by the LUNs that they know them by; None: all, as they are.
    """

    access: AccessList = field(default_factory=AccessList)
    luns: Mapping[int, int] | None = None


EVERYTHING: Final = LunMap()
"""What an initiator sees of a target that has no maps."""
