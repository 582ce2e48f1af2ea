"""What attacks.py and login_attacks.py are made of: sessions that attack, and the limits that they meet."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from support.target import RunningTarget

from iscsitools.initiator import Opcode, Session, make_bhs
from iscsitools.initiator.pdu_socket import pad

from .harness import IQN, TEST_UNIT_READY

CHAPPED = f"{IQN}.chap"
NAME = "attacked"
BAD = "iqn.2026-11.example:bad"
ADDRESS_LIMIT = 150
INITIATOR_LIMIT = 30
LIMITS = (
    "max_connections = 1000\nmax_sessions = 1000\nchap_failures = 20\n"
    f"max_connections_per_address = {ADDRESS_LIMIT}\nmax_sessions_per_initiator = {INITIATOR_LIMIT}"
)


class Closes(Protocol):
    """What is left of a round."""

    def close(self) -> None: ...


Attack = Callable[[RunningTarget], list[Closes]]


def sessions(target: RunningTarget, count: int) -> list[Session]:
    """Of as many initiators, at both disks. They have read, so that data threads have them where there are any."""
    found = []
    for number in range(count):
        session = Session.connect(target.addresses[0], IQN, initiator=f"{BAD}{number}")
        for lun in (0, 1):
            session.command(TEST_UNIT_READY, lun)
        for _ in range(3):
            session.read(0, 8)
        session.wire.sock.setblocking(False)
        session.wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.append(session)
    return found


def flood(sock: socket.socket, *pdus: bytes) -> None:
    """As much of it as the socket takes."""
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.send(b"".join(pdus))


def each(target: RunningTarget, count: int, pdus: Callable[[Session], list[bytes]]) -> list[Closes]:
    """So many sessions that send the same and read nothing."""
    found = sessions(target, count)
    for session in found:
        flood(session.wire.sock, *pdus(session))
    return list(found)


def begun(session: Session, number: int, lun: int, blocks: int, cdb: bytes, flags: int, length: int = 0) -> bytes:
    """The header of a command whose CmdSN is ``number`` ahead of its turn."""
    return make_bhs(
        Opcode.SCSI_COMMAND, flags=flags, edtl=blocks * 512, itt=1000 + number, lun=lun << 48, cdb=cdb,
        cmd_sn=(session.cmd_sn + number) & 0xFFFFFFFF, data_length=length,
    )  # fmt: skip


def at_once(session: Session, opcode: int, data: bytes = b"", **fields: object) -> bytes:
    """An immediate request."""
    how = {"itt": 9, "flags": 0x80, "cmd_sn": session.cmd_sn} | fields
    return make_bhs(opcode, immediate=True, data_length=len(data), **how) + pad(data)  # type: ignore[arg-type]
