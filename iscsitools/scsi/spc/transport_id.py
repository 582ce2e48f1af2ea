"""TransportIDs of iSCSI initiator ports (SPC-4 7.6.4.6)."""

from __future__ import annotations

import struct

from iscsitools.scsi.core.cdb import Buffer, u16

_ISCSI_PORT = 0x45
"""FORMAT CODE 01b (a name with the ISID: a port), PROTOCOL IDENTIFIER 5h."""


def encode_transport_id(initiator_port: str) -> bytes:
    """The TransportID of a port named ``IQN,i,0xISID``: null-terminated, at least 20 bytes of name, in fours."""
    name = initiator_port.encode() + b"\0"
    length = max(20, -(-len(name) // 4) * 4)
    return struct.pack(">BBH", _ISCSI_PORT, 0, length) + name.ljust(length, b"\0")


def split_transport_ids(data: Buffer) -> list[str] | None:
    """The ports' names of a list of TransportIDs, each once; None when one is not an iSCSI initiator port's."""
    names: dict[str, None] = {}
    at = 0
    while at < len(data):
        end = at + 4 + u16(data, at + 2) if len(data) - at >= 4 else at
        name = decode_transport_id(data[at:end])
        if name is None:
            return None
        names[name] = None
        at = end
    return list(names)


def decode_transport_id(data: Buffer) -> str | None:
    """The port's name; None when it is not the TransportID of an iSCSI initiator port."""
    if len(data) < 24 or data[0] != _ISCSI_PORT or len(data) != 4 + u16(data, 2):
        return None
    name, end, _ = bytes(data[4:]).partition(b"\0")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    return text if end and ",i,0x" in text else None
