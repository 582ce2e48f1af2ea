"""IP addresses as portals have them: their one form, how TargetAddress writes them, and to whom they may be told."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


def bracketed(address: str) -> str:
    """The address as TargetAddress writes it: IPv6 in brackets, an IPv4 address that came in over IPv6 as IPv4.

    A link-local one keeps its scope (RFC 4007 11): without it nobody can connect to it.
    """
    text = plain(address)
    if _link_local(address):
        text += "".join(address.partition("%")[1:])
    return f"[{text}]" if ":" in text else text


def may_be_told(address: str, local: str) -> bool:
    """Whether who came in at ``local`` may be told of a portal at ``address``."""
    if _link_local(address):
        return _link_local(local) and same_link(address, local)
    return _loopback(local) or not _loopback(address)


def _link_local(address: str) -> bool:
    return ":" in address and ipaddress.ip_address(address.partition("%")[0]).is_link_local


def same_link(one: str, other: str) -> bool:
    """Whether two addresses may be on one link: of what is not known it is assumed."""
    scopes = one.partition("%")[2], other.partition("%")[2]
    return "" in scopes or scopes[0] == scopes[1]


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(plain(address)).is_loopback
    except ValueError:
        return address.lower() == "localhost"


@lru_cache(maxsize=64)
def plain(address: str) -> str:
    """The address in its one form, without a scope."""
    address = address.partition("%")[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address.lower()
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
