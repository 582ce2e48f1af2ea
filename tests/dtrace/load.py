"""A load of known numbers, and what the tracing tools have to say of it by the initiator's own log of PDUs.

Uses nothing of the project, so that it runs in the guest too, beside the tests' initiator.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from iscsitools.initiator import NO_TAG, Log, Opcode, Pdu, Plan, Session, run_load

KEYS = {"InitialR2T": "No", "ImmediateData": "Yes", "FirstBurstLength": "8192", "MaxBurstLength": "16384"}
PLANS = (
    Plan(reads=31, writes=23, read_blocks=8, write_blocks=8, depth=4, way="immediate"),
    Plan(reads=7, writes=13, read_blocks=128, write_blocks=64, depth=3, way="solicited"),
    Plan(reads=0, writes=11, write_blocks=48, depth=2, way="mixed"),
    Plan(reads=0, writes=5, write_blocks=16, depth=2, way="unsolicited"),
)
NOPS, TEXTS, ABORTS, CHECKS, FAILING = 3, 2, 5, 3, 2
ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5
LABELS = {
    Opcode.LOGIN_REQUEST: "login-command",
    Opcode.LOGIN_RESPONSE: "login-response",
    Opcode.LOGOUT_REQUEST: "logout-command",
    Opcode.LOGOUT_RESPONSE: "logout-response",
    Opcode.TEXT_REQUEST: "text-command",
    Opcode.TEXT_RESPONSE: "text-response",
    Opcode.SCSI_COMMAND: "scsi-command",
    Opcode.SCSI_RESPONSE: "scsi-response",
    Opcode.DATA_IN: "data-send",
    Opcode.DATA_OUT: "data-receive",
    Opcode.R2T: "data-request",
    Opcode.TASK_REQUEST: "task-command",
    Opcode.TASK_RESPONSE: "task-response",
    Opcode.NOP_OUT: "nop-receive",
    Opcode.NOP_IN: "nop-send",
    Opcode.ASYNC: "async-send",
}


def mixed(address: tuple[str, int], target: str, initiator: str) -> Session:
    """Everything but a logout, on a new session, which is returned."""
    session = Session.connect(address, target, initiator=initiator, keys=KEYS, timeout=300)
    for plan in PLANS:
        run_load(session, plan)
    for _ in range(CHECKS):
        session.command(bytes(6))  # TEST UNIT READY
    for _ in range(FAILING):
        result = session.command(struct.pack(">BBQIBB", 0x88, 0, 1 << 40, 1, 0, 0), read=512)
        assert result.sense_code == (5, 0x21, 0)  # ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE
    for number in range(NOPS):
        session.nop(b"%d" % number)
    for _ in range(TEXTS):
        session.send_targets()
    for tag in range(ABORTS):
        session.manage(ABORT_TASK, rtt=0x70000000 + tag)
    session.manage(LOGICAL_UNIT_RESET)
    return session


@dataclass
class Expected:
    """What tools have to report of one client."""

    events: Counter[str] = field(default_factory=Counter)
    io: dict[str, list[int]] = field(default_factory=lambda: {"read": [0, 0], "write": [0, 0]})
    ended: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    opcodes: Counter[int] = field(default_factory=Counter)
    transfers: Counter[str] = field(default_factory=Counter)
    """``read 4096`` and ``write 4096``: how many transfers of that size."""

    def to_json(self) -> dict[str, Any]:
        return {name: dict(getattr(self, name)) for name in self.__dataclass_fields__}


def expected(log: Log) -> Expected:
    """Read what the initiator sent and received."""
    found = Expected()
    operations: dict[int, str] = {}
    sizes: Counter[tuple[str, int]] = Counter()
    for pdu in log.pdus():
        found.events[LABELS[Opcode(pdu.opcode)]] += 1
        match pdu.opcode:
            case Opcode.SCSI_COMMAND:
                operation = "write" if pdu.flags & 0x20 else "read" if pdu.flags & 0x40 else ""
                operations[pdu.itt] = operation
                found.opcodes[pdu.cdb[0]] += 1
                if pdu.data_length:
                    _moved(found, "write", pdu)
                    sizes["write", pdu.itt] += pdu.data_length
            case Opcode.DATA_IN:
                _moved(found, "read", pdu)
                sizes["read", pdu.itt] += pdu.data_length
                if pdu.flags & 0x01:
                    found.ended[operations[pdu.itt]] += 1
            case Opcode.DATA_OUT:
                _moved(found, "write", pdu)
                if pdu.ttt == NO_TAG:
                    sizes["write", pdu.itt] += pdu.data_length
            case Opcode.R2T:
                found.transfers[f"write {pdu.desired_length}"] += 1
            case Opcode.SCSI_RESPONSE if operations[pdu.itt]:
                (found.failed if pdu.status else found.ended)[operations[pdu.itt]] += 1
    found.transfers.update(f"{operation} {size}" for (operation, _), size in sizes.items())
    for event in ("xfer-start", "xfer-done"):
        found.events[event] = sum(found.transfers.values())
    return found


def _moved(found: Expected, operation: str, pdu: Pdu) -> None:
    found.io[operation][0] += 1
    found.io[operation][1] += pdu.data_length
