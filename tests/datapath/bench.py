"""Connections that data threads serve, with nothing around them: a path, a gate, a disk and a pair of sockets each."""

from __future__ import annotations

import select
import socket
import time
from types import ModuleType
from typing import Any

from iscsitools.backstores.base import Backstore
from iscsitools.initiator.pdu import Opcode, make_bhs
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE, Buffers, Holding
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.scsi.core.gate import unit_words

BLOCK = 512
SIZE = 4 << 20
"""Of a disk."""
PIECE = 64 << 10
"""Of a disk, what one command reads or writes."""
NOP_OUT = bytes([0x40, 0x80]) + bytes(14) + b"\xff" * 8 + bytes(24)


def returned(thread: Any) -> list[Any]:
    """Wait until connections have come back by themselves."""
    assert select.select([thread.fileno()], [], [], 60)[0]
    return list(thread.take_back())


def write10(lba: int, blocks: int) -> bytes:
    return b"\x2a\0" + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


def read10(lba: int, blocks: int) -> bytes:
    return b"\x28\0" + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


class Wire:
    """One connection. What is sent is remembered until it is answered."""

    def __init__(self, module: ModuleType, store: Backstore, number: int = 1) -> None:
        self.gate = module.Gate(0, store, BLOCK, store.size // BLOCK, unit_words(64))
        self.gate.read_open = self.gate.write_open = True
        self.path = module.DataPath(bytearray(RECEIVE_SIZE), ConnectionInfo(number), Probes(time.monotonic_ns))
        self.path.window = 128
        self.path.exp_cmdsn = self.path.statsn = self.cmdsn = 1
        self.path.agree(262144, 262144, 65536)
        self.buffers = Buffers()
        self.memory = Holding(self.buffers, str(number))
        self.path.lend_by(self.memory.reserve, self.memory.release, self.buffers.take, self.buffers.give)
        self.path.open_gate(0, self.gate)
        self.ours, self.theirs = socket.socketpair()
        for end in (self.ours, self.theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        self.theirs.setblocking(False)
        self.ours.settimeout(60)
        self.received = b""
        self.unsent = b""
        self.tracers: Any = None
        """Who looks at what a thread does with it."""

    def pdu(self, cdb: bytes, data: bytes = b"", length: int = 0, **fields: int) -> bytes:
        """The next command, as it stands on the wire."""
        values = {
            "flags": 0xA1 if data else 0xC1, "itt": self.cmdsn, "cmd_sn": self.cmdsn, "edtl": len(data) or length,
        } | fields  # fmt: skip
        self.cmdsn += 1
        return make_bhs(Opcode.SCSI_COMMAND, cdb=cdb, data_length=len(data), **values) + data

    def write(self, lba: int, data: bytes, **fields: int) -> bytes:
        return self.pdu(write10(lba, len(data) // BLOCK), data, **fields)

    def read(self, lba: int, blocks: int, **fields: int) -> bytes:
        return self.pdu(read10(lba, blocks), length=blocks * BLOCK, **fields)

    def data_out(self, itt: int, ttt: int, sn: int, offset: int, data: bytes, final: bool) -> bytes:
        """A Data-Out."""
        bhs = make_bhs(
            Opcode.DATA_OUT, flags=0x80 if final else 0, itt=itt, ttt=ttt, data_sn=sn, buffer_offset=offset,
            data_length=len(data),
        )  # fmt: skip
        return bhs + data

    def lend(self, thread: Any) -> None:
        """Have a thread serve it, with what had been received before; that holds what commands wait for."""
        received, self.received = self.received, b""
        assert not self.unsent
        self.memory.release(self.path.awaited)
        thread.lend(self.path, self.theirs.fileno(), self, received, self.tracers)

    def take(self, rest: tuple[object, bytes, bytes, int]) -> None:
        """It has come back."""
        owner, self.received, self.unsent, _ = rest
        assert owner is self
        self.memory.claim(self.path.awaited)

    def answers(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next answers: headers and data."""
        found = []
        for _ in range(count):
            bhs = self._exactly(48)
            found.append((bhs, self._exactly(int.from_bytes(bhs[5:8], "big") + 3 & ~3)))
        return found

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.ours.recv(count)
            assert part, "the connection was closed"
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
