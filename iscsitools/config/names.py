"""iSCSI names (RFC 7143 4.2.7) and the addresses of portals."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from iscsitools.wire.names import MAX_NAME, fold_name

DEFAULT_PORT: Final = 3260
"""The port that IANA gave to iSCSI targets (RFC 7143 14)."""

_IQN = re.compile(r"iqn\.([0-9]{4})-([0-9]{2})\.([^:]+)(?::(.*))?", re.DOTALL)
_LABEL = re.compile(r"[^\W_](?:[\w-]*[^\W_])?")
_EUI = re.compile(r"eui\.[0-9a-f]{16}")
_NAA = re.compile(r"naa\.(?:[0-9a-f]{16}|[0-9a-f]{32})")


def iscsi_name(text: str) -> str:
    """Check an iSCSI name of type iqn., eui. or naa. and return it folded.

    Raises ValueError with the reason.
    """
    name = fold_name(text)
    if len(name.encode()) > MAX_NAME:
        raise ValueError(f"an iSCSI name has at most {MAX_NAME} bytes, this one has {len(name.encode())}")
    for c in name:
        # RFC 3722 6.1: of ASCII only letters, digits, "-", "." and ":"; beyond it, letters, marks and numbers.
        if not (c.isalnum() or c in "-.:" or (c > "\x7f" and unicodedata.category(c)[0] == "M")):
            raise ValueError(f"{text!r}: an iSCSI name cannot contain {c!r}")
    if name.startswith("iqn."):
        _check_iqn(text, name)
    elif name.startswith("eui."):
        if not _EUI.fullmatch(name):
            raise ValueError(f"{text!r}: 16 hexadecimal digits have to follow 'eui.'")
    elif name.startswith("naa."):
        if not _NAA.fullmatch(name):
            raise ValueError(f"{text!r}: 16 or 32 hexadecimal digits have to follow 'naa.'")
    else:
        raise ValueError(f"{text!r} is no iSCSI name: one begins with 'iqn.', 'eui.' or 'naa.'")
    return name


def _check_iqn(text: str, name: str) -> None:
    match = _IQN.fullmatch(name)
    if match is None:
        raise ValueError(f"{text!r} has not the form iqn.YYYY-MM.REVERSED-DOMAIN[:TEXT]")
    if not 1 <= int(match[2]) <= 12:
        raise ValueError(f"{text!r}: {match[2]} is no month")
    for label in match[3].split("."):
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{text!r}: {match[3]!r} is no reversed domain name")
    if match[4] == "":
        raise ValueError(f"{text!r}: nothing follows the colon")


@dataclass(frozen=True, slots=True, order=True)
class PortalConfig:
    """An address and a TCP port to listen on. ``host`` is an IP address or a host name, without brackets.

    Port 0 asks the system for a free one. ``group``: its portal group, 1 to 65535 (RFC 7143 4.2.7.1). ``advertise``:
    what initiators are told instead, behind NAT or in a container: an address with a port, or without for the same one.
    ``str()`` gives ``127.0.0.1:3260``, ``[::1]:3260``, ``127.0.0.1:3260,2`` in another group than 1, and
    ``,advertise=ADDRESS`` behind it.
    """

    host: str
    port: int = DEFAULT_PORT
    group: int = 1
    advertise: str = ""

    @classmethod
    def parse(cls, text: str) -> PortalConfig:
        """Read ``ADDR``, ``ADDR:PORT``, ``V6``, ``[V6]`` or ``[V6]:PORT``, then ``,GROUP`` and ``,advertise=``.

        Raises ValueError with the reason.
        """
        place, *more = text.split(",")
        portal = cls._place(place)
        if len(more) > 1 and len({part.startswith("advertise=") for part in more}) < len(more):
            raise ValueError(f"{text!r}: a portal has one portal group and one advertise=ADDRESS")
        for part in more:
            if part.startswith("advertise="):
                told = cls._place(part.removeprefix("advertise="), 0)
                portal = replace(portal, advertise=str(told).removesuffix(":0"))
            elif re.fullmatch(r"[0-9]{1,5}", part) and 1 <= int(part) <= 65535:
                portal = replace(portal, group=int(part))
            else:
                raise ValueError(f"{text!r}: {part!r} is no portal group (1 to 65535) and no advertise=ADDRESS")
        return portal

    def told(self, port: int) -> str:
        """What initiators are told of it, where ``port`` is the one that it listens on; empty: where it listens."""
        named = re.fullmatch(r"(?:\[.*\]|[^:]*):[0-9]+", self.advertise)
        return self.advertise if named or not self.advertise else f"{self.advertise}:{port}"

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it listens, and its group."""
        return self.host, self.port, self.group

    @classmethod
    def _place(cls, text: str, default: int = DEFAULT_PORT) -> PortalConfig:
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ValueError(f"{text!r} is no portal: [IPV6-ADDRESS]:PORT was expected")
            _check_ipv6(text, host)
            return cls(host, _port(text, rest[1:]) if rest else default)
        if text.count(":") > 1:
            _check_no_port(text)
            _check_ipv6(text, text)
            return cls(text, default)
        host, colon, port = text.partition(":")
        if re.fullmatch(r"[0-9.]+", host):
            try:
                ipaddress.IPv4Address(host)
            except ValueError:
                raise ValueError(f"{text!r}: {host!r} is no IPv4 address") from None
        elif not all(re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?", label) for label in host.split(".")):
            raise ValueError(f"{text!r} is no portal: ADDRESS, ADDRESS:PORT or [IPV6-ADDRESS]:PORT was expected")
        return cls(host, _port(text, port) if colon else default)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        group = f",{self.group}" if self.group != 1 else ""
        return f"{host}:{self.port}{group}" + (f",advertise={self.advertise}" if self.advertise else "")


def _check_no_port(text: str) -> None:
    """Refuse ``::1:3260``: it is an address, and whoever writes it means another one and a port."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[1-9][0-9]{2,4}", port):
        return
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return
    raise ValueError(f"{text!r}: write [{host}]:{port} for a port, or [{text}] if all of it is the address")


def _check_ipv6(text: str, host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"{text!r}: {host!r} is no IPv6 address") from None


def _port(text: str, port: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{text!r}: {port!r} is no port number (0 to 65535)")
    return int(port)
