"""A load of known numbers, and what the tracing tools have to say of it by the initiator's own log of PDUs.

Uses nothing of the project, so that it runs in the guest too, beside the tests' initiator.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from iscsitools.initiator import NO_TAG, Log, LoginError, Opcode, Pdu, Plan, Session, run_load

KEYS = {"InitialR2T": "No", "ImmediateData": "Yes", "FirstBurstLength": "8192", "MaxBurstLength": "16384"}
PLANS = (
    Plan(reads=31, writes=23, read_blocks=8, write_blocks=8, depth=4, way="immediate"),
    Plan(reads=7, writes=13, read_blocks=128, write_blocks=64, depth=3, way="solicited"),
    Plan(reads=0, writes=11, write_blocks=48, depth=2, way="mixed"),
    Plan(reads=0, writes=5, write_blocks=16, depth=2, way="unsolicited"),
)
NOPS, TEXTS, ABORTS, CHECKS, FAILING = 3, 2, 5, 3, 2
REFUSED_READS, REFUSED_WRITES, REFUSED_LOGINS = 3, 2, 2
ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5
RESERVATION_CONFLICT = 0x18
REGISTER, RESERVE, RELEASE = 0, 1, 2
EXCLUSIVE_ACCESS = 3
KEY = 0x1E55
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
    Opcode.ASYNC_MESSAGE: "async-send",
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


def reserve(holder: Session, other: Session) -> None:
    """The one registers and reserves the unit; the other's reads and writes are refused; the one lets it go again."""
    for session in (holder, other):
        while session.command(bytes(6)).status:  # TEST UNIT READY, until there is no unit attention
            pass
    _reserve_out(holder, REGISTER, 0, KEY)
    _reserve_out(holder, RESERVE, KEY, kind=EXCLUSIVE_ACCESS)
    for _ in range(REFUSED_READS):
        refused = other.command(struct.pack(">BBQIBB", 0x88, 0, 0, 8, 0, 0), read=4096)
        assert refused.status == RESERVATION_CONFLICT
    for _ in range(REFUSED_WRITES):
        refused = other.command(struct.pack(">BBQIBB", 0x8A, 0, 0, 8, 0, 0), write=bytes(4096))
        assert refused.status == RESERVATION_CONFLICT
    _reserve_out(holder, RELEASE, KEY, kind=EXCLUSIVE_ACCESS)
    _reserve_out(holder, REGISTER, KEY, 0)


def _reserve_out(session: Session, action: int, key: int, new_key: int = 0, kind: int = 0) -> None:
    """PERSISTENT RESERVE OUT (SPC-4 6.16)."""
    cdb = struct.pack(">BBB2xIx", 0x5F, action, kind, 24)
    assert session.command(cdb, write=struct.pack(">QQ8x", key, new_key)).status == 0


def refused_login(address: tuple[str, int], initiator: str) -> Log:
    """A login to a target that is not there; returns its PDUs."""
    session = Session(address, timeout=300)
    names = {"InitiatorName": initiator, "SessionType": "Normal", "TargetName": "iqn.2026-11.example:none"}
    try:
        session.login(names, {})
    except LoginError as error:
        status = error.status
    finally:
        session.close()
    assert status == (2, 3)  # not found
    return session.log


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
    sizes: Counter[str] = field(default_factory=Counter)
    """``read 4096``: how many commands that ended well moved that much or up to twice as much; ``other 0``."""
    seeks: Counter[str] = field(default_factory=Counter)
    """``count``: reads and writes behind another; ``sequential``: those that began where that one ended."""
    refused: Counter[str] = field(default_factory=Counter)
    logins: Counter[str] = field(default_factory=Counter)
    reservations: Counter[str] = field(default_factory=Counter)
    """By service action of PERSISTENT RESERVE OUT."""

    def to_json(self) -> dict[str, Any]:
        return {name: dict(getattr(self, name)) for name in self.__dataclass_fields__}


def expected(log: Log, *more: Log) -> Expected:
    """Read what the initiator sent and received; ``more``: of connections that got no further than their login."""
    found = Expected()
    for one in (log, *more):
        _logins(found, one)
    for other in more:
        found.events.update(LABELS[Opcode(pdu.opcode)] for pdu in other.pdus())
    _commands(found, log)
    _seeks(found, log)
    return found


def _logins(found: Expected, log: Log) -> None:
    """A login is one connection's Login PDUs."""
    found.logins["begun"] += bool(log.count(Opcode.LOGIN_REQUEST))
    for pdu in log.pdus(Opcode.LOGIN_RESPONSE):
        found.logins["failed"] += bool(pdu.status_class)
        found.logins["ok"] += not pdu.status_class and pdu.flags & 0x83 == 0x83


def _seeks(found: Expected, log: Log) -> None:
    """All reads and writes of the load are READ(16) and WRITE(16)."""
    end = None
    for pdu in log.pdus(Opcode.SCSI_COMMAND):
        if pdu.cdb[0] in (0x88, 0x8A):
            lba, blocks = struct.unpack_from(">QI", pdu.cdb, 2)
            found.seeks["count"] += end is not None
            found.seeks["sequential"] += lba == end
            end = lba + blocks


def _commands(found: Expected, log: Log) -> None:
    operations: dict[int, str] = {}
    sizes: Counter[tuple[str, int]] = Counter()
    moved: Counter[int] = Counter()
    for pdu in log.pdus():
        found.events[LABELS[Opcode(pdu.opcode)]] += 1
        match pdu.opcode:
            case Opcode.SCSI_COMMAND:
                operation = "write" if pdu.flags & 0x20 else "read" if pdu.flags & 0x40 else ""
                operations[pdu.itt] = operation
                found.opcodes[pdu.cdb[0]] += 1
                if pdu.cdb[0] == 0x5F:
                    found.reservations[str(pdu.cdb[1] & 0x1F)] += 1
                moved[pdu.itt] = pdu.data_length
                if pdu.data_length:
                    _moved(found, "write", pdu)
                    sizes["write", pdu.itt] += pdu.data_length
            case Opcode.DATA_IN:
                _moved(found, "read", pdu)
                sizes["read", pdu.itt] += pdu.data_length
                moved[pdu.itt] += pdu.data_length
                if pdu.flags & 0x01:
                    found.ended[operations[pdu.itt]] += 1
                    found.sizes[_size(operations[pdu.itt], moved[pdu.itt])] += 1
            case Opcode.DATA_OUT:
                _moved(found, "write", pdu)
                if pdu.ttt == NO_TAG:
                    sizes["write", pdu.itt] += pdu.data_length
                    moved[pdu.itt] += pdu.data_length
            case Opcode.R2T:
                found.transfers[f"write {pdu.desired_length}"] += 1
                moved[pdu.itt] += pdu.desired_length
            case Opcode.SCSI_RESPONSE:
                operation = operations[pdu.itt]
                if operation:
                    (found.failed if pdu.status else found.ended)[operation] += 1
                if pdu.status == RESERVATION_CONFLICT:
                    found.refused[operation] += 1
                    del sizes[operation, pdu.itt]  # it began no transfer
                elif not pdu.status:
                    found.sizes[_size(operation, moved[pdu.itt])] += 1
    found.transfers.update(f"{operation} {size}" for (operation, _), size in sizes.items())
    for event in ("xfer-start", "xfer-done"):
        found.events[event] = sum(found.transfers.values())


def _size(operation: str, moved: int) -> str:
    return f"{operation or 'other'} {1 << moved.bit_length() - 1 if moved else 0}"


def _moved(found: Expected, operation: str, pdu: Pdu) -> None:
    found.io[operation][0] += 1
    found.io[operation][1] += pdu.data_length
