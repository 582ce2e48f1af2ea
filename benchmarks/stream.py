"""A recorded initiator: login, and batches of reads or writes, made by the test initiator's encoders."""

from __future__ import annotations

import struct
from pathlib import Path

from iscsitools.initiator.login import (
    CONTINUE,
    DEFAULT_OFFERS,
    FULL_FEATURE,
    OPERATIONAL,
    SECURITY,
    TRANSIT,
    encode_keys,
)
from iscsitools.initiator.pdu import Opcode, make_bhs
from iscsitools.initiator.wire import pad

TARGET = "iqn.2026-11.example:engine"
BHS = 48
BLOCK = 512
SIZE = 4096
ATTENTIONS = 3
"""TEST UNIT READY commands before the load, which take the unit attentions of a new nexus."""


def pdu(bhs: bytes, data: bytes = b"") -> bytes:
    """The bytes of one PDU without digests."""
    return bhs[:5] + len(data).to_bytes(3, "big") + bhs[8:] + pad(data)


def login() -> list[bytes]:
    """Both stages of a login, one PDU each."""
    names = {"InitiatorName": "iqn.2026-11.example:stream", "SessionType": "Normal", "TargetName": TARGET}
    stages = ((SECURITY, OPERATIONAL, names | {"AuthMethod": "None"}), (OPERATIONAL, FULL_FEATURE, DEFAULT_OFFERS))
    requests = []
    for number, (csg, nsg, keys) in enumerate(stages):
        flags = (TRANSIT | csg << 2 | nsg) & ~CONTINUE
        bhs = make_bhs(
            Opcode.LOGIN_REQUEST, immediate=True, flags=flags, isid=0x400001370000, cid=1, cmd_sn=1, exp_stat_sn=number
        )
        requests.append(pdu(bhs, encode_keys(keys)))
    return requests


def attentions() -> list[bytes]:
    """TEST UNIT READY, one PDU each; CmdSN 1 to :data:`ATTENTIONS`."""
    numbers = range(1, ATTENTIONS + 1)
    return [pdu(make_bhs(Opcode.SCSI_COMMAND, flags=0x81, itt=n, cmd_sn=n, cdb=bytes(6))) for n in numbers]


def batches(write: bool, count: int, depth: int, blocks: int) -> list[bytes]:
    """``count`` commands of 4 KiB each, ``depth`` in one batch of received bytes; writes carry immediate data."""
    data = bytes(range(256)) * (SIZE // 256) if write else b""
    made = []
    for first in range(0, count, depth):
        batch = b""
        for number in range(first, min(first + depth, count)):
            lba = number * 40503 * (SIZE // BLOCK) % blocks
            cdb = struct.pack(">BBIBHB", 0x2A if write else 0x28, 0, lba, 0, SIZE // BLOCK, 0)
            bhs = make_bhs(
                Opcode.SCSI_COMMAND, flags=0xA1 if write else 0xC1, edtl=SIZE, itt=number % depth + 1,
                cmd_sn=number + ATTENTIONS + 1, cdb=cdb,
            )  # fmt: skip
            batch += pdu(bhs, data)
        made.append(batch)
    return made


def record(path: Path, write: bool, count: int, depth: int, blocks: int) -> None:
    """Write all of it to a file: each piece, which arrives as one readable event, behind its length in four bytes."""
    with path.open("wb") as file:
        for piece in [*login(), *attentions(), *batches(write, count, depth, blocks)]:
            file.write(len(piece).to_bytes(4, "big") + piece)
