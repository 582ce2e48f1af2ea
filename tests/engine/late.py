"""Commands that are refused at once while their data is still on the way: what is sent, and what is left of them."""

from __future__ import annotations

from iscsitools.initiator import Opcode, Pdu

from .harness import Target, Wire, write10

BEYOND = write10(0x7FFFFFF0, 4)
OUT_OF_RANGE, CRC_ERROR, DATA_PHASE_ERROR = (5, 0x21, 0), (0xB, 0x47, 5), (0xB, 0x4B, 0)


def sense(answer: Pdu) -> tuple[int, int, int]:
    assert (answer.opcode, answer.status) == (Opcode.SCSI_RESPONSE, 2)
    return answer.data[4] & 0xF, answer.data[14], answer.data[15]


def refused(wire: Wire, cdb: bytes = BEYOND, **how: int | bytes) -> int:
    """Send a write that is refused at once, whose F bit says that data follows; its tag."""
    wire.feed(wire.request(cdb, **({"edtl": 2048, "flags": 0x21} | how)))
    return wire.itt


def nothing_is_held(target: Target) -> bool:
    return target.buffers.reserved == 0 and not list(target.unit.tasks)
