"""The engine without sockets: a connection over a disk in memory, fed with bytes, its output cut into PDUs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from iscsitools.backstores.base import Backstore, Request
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator import NO_TAG, Opcode, Pdu, encode_lun, make_bhs
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.phase import LoginHooks, LoginPhase
from iscsitools.iscsi.login.policy import Directory, TargetNode
from iscsitools.iscsi.requests.dispatch import Dispatcher
from iscsitools.iscsi.session.session import Session
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.executor import Executor, InlineExecutor
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.rfc7143 import BHS_LENGTH

IQN = "iqn.2026-11.example:engine"
INITIATOR = "iqn.2026-11.example:wire"
KEYS = {
    "InitiatorName": INITIATOR,
    "SessionType": "Normal",
    "TargetName": IQN,
    "AuthMethod": "None",
    "HeaderDigest": "None",
    "DataDigest": "None",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxRecvDataSegmentLength": "262144",
    "MaxBurstLength": "262144",
    "FirstBurstLength": "65536",
    "MaxOutstandingR2T": "2",
    "ErrorRecoveryLevel": "0",
}
SECOND = 1_000_000_000
data_path: type[DataPath] = DataPath
"""What serves a new connection; the fixture ``twin`` (conftest.py) changes it."""


class SlowDisk(RamBackstore):
    """A disk in memory whose calls may block: all of them go through the executor."""

    blocking = True


class ManualExecutor:
    """Begins calls at once, and reports them when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Callable[[], bool]:
        error: BaseException | None = None
        try:
            work()
        except Exception as raised:
            error = raised
        self.waiting.append(lambda: done(error))
        return lambda: False

    def ask(
        self, store: Backstore, request: Request, done: Callable[[BaseException | None], None]
    ) -> Callable[[], bool]:
        return InlineExecutor().ask(store, request, done)

    def resume(self, step: Callable[[], None]) -> None:
        self.waiting.append(step)

    def run_one(self, index: int = 0) -> None:
        self.waiting.pop(index)()


@dataclass
class Target:
    """One target of one unit, and everything that a server would have around it."""

    executor: Executor = field(default_factory=InlineExecutor)
    slow: bool = False
    window: int = 128
    size: int = 4 << 20
    disk: Backstore | None = None
    """Opened; a disk in memory of ``size`` bytes where there is none."""
    memory: int = 64 << 20
    now: int = SECOND
    woken: list[Connection] = field(default_factory=list)
    closed: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = self.disk or (SlowDisk if self.slow else RamBackstore)(str(self.size))
        if self.disk is None:
            self.store.open()
        self.device = ScsiDevice(IQN, DISK)
        self.unit = LogicalUnit(0, self.store, self.executor, UnitOptions(target=IQN), DISK)
        self.device.add_unit(self.unit)
        self.directory = Directory()
        self.directory.add(TargetNode(IQN, self.device))
        self.probes = Probes(lambda: self.now)
        self.buffers = Buffers(self.memory)
        self.table = SessionTable()
        hooks = LoginHooks(lambda n: bytes(n), lambda c, p: None, lambda s: None, self.closed.append, lambda c, r: None)
        self.login = LoginPhase(self.directory, NegotiationLimits(), self.table, self.window, hooks)
        self.dispatcher = Dispatcher(self.login)
        self._idents = itertools.count(1)

    def connect(self, timers: Timers | None = None) -> Wire:
        info = ConnectionInfo(next(self._idents), "127.0.0.1:3260", "127.0.0.1:50000")
        conn = Connection(
            info,
            self.buffers,
            self.probes,
            self.dispatcher,
            self.now,
            timers or Timers(),
            self.woken.append,
            data_path,
        )
        return wire(self, conn)

    def session(self, keys: dict[str, str] | None = None, **login: int) -> Wire:
        """A connection in full feature phase, its unit attention taken."""
        wire = self.connect()
        wire.log_in(keys, **login)
        wire.command(bytes(6))
        return wire


class Wire:
    """The initiator's end of a connection: bytes in, PDUs out, with the digests that :meth:`log_in` asked for."""

    def __init__(self, target: Target, conn: Connection) -> None:
        self.target = target
        self.conn = conn
        self.cmd_sn = 1
        self.itt = 0
        self.header_digest = self.data_digest = False
        self._rest = b""

    def feed(self, data: bytes, piece: int = 0) -> None:
        """Give the engine bytes, at most ``piece`` at a time, as far as it takes them."""
        at = 0
        while at < len(data) and not self.conn.close_reason:
            at += self.put(data, at, piece)
            while self.conn.unfinished:
                self.conn.go_on(self.target.now)

    def put(self, data: bytes, at: int, piece: int = 0) -> int:
        """Have the engine receive from ``at`` on what its buffers take, at most ``piece``: how many bytes."""
        count = 0
        for buffer in self.conn.get_buffers():
            part = data[at : at + min(len(buffer), piece - count if piece else len(buffer))]
            buffer[: len(part)] = part
            at += len(part)
            count += len(part)
        self.conn.received(count, self.target.now)
        return count

    def receive(self) -> list[Pdu]:
        """All PDUs that the engine has to send."""
        while True:
            pieces = self.conn.output()
            if not pieces and not self.conn.stalled and not self.conn.unfinished:
                break
            data = b"".join(pieces)
            self._rest += data
            self.conn.sent(len(data), self.target.now)
            while self.conn.unfinished or (self.conn.stalled and not self.conn.out.unsent()):
                self.conn.go_on(self.target.now)
        return list(self._cut())

    def _cut(self) -> Iterator[Pdu]:
        head = BHS_LENGTH + (4 if self.header_digest else 0)
        while len(self._rest) >= BHS_LENGTH:
            bhs = self._rest[:BHS_LENGTH]
            length = int.from_bytes(bhs[5:8], "big")
            end = head + length + (-length & 3)
            whole = end + (4 if self.data_digest and length else 0)
            assert len(self._rest) >= whole, "half a PDU in the output"
            if self.header_digest:
                assert self._rest[BHS_LENGTH:head] == crc32c_wire(bhs)
            assert self._rest[end:whole] in (b"", crc32c_wire(self._rest[head:end]))
            yield Pdu(bhs, b"", self._rest[head : head + length])
            self._rest = self._rest[whole:]
        assert not self._rest

    def seal(self, bhs: bytes, data: bytes = b"") -> bytes:
        """The bytes of a PDU: padding, and the digests that were agreed on."""
        padded = data + bytes(-len(data) & 3)
        header = bhs + (crc32c_wire(bhs) if self.header_digest else b"")
        return header + padded + (crc32c_wire(padded) if self.data_digest and data else b"")

    def login_request(
        self, keys: dict[str, str] | None = None, tsih: int = 0, cid: int = 1, isid: int = 0x400001370000
    ) -> bytes:
        """The bytes of a login in one request, from the operational stage."""
        text = b"".join(f"{k}={v}\0".encode() for k, v in {**KEYS, **(keys or {})}.items() if k != "AuthMethod")
        bhs = make_bhs(
            Opcode.LOGIN_REQUEST, immediate=True, flags=0x87, data_length=len(text), isid=isid, tsih=tsih, cid=cid,
            cmd_sn=self.cmd_sn,
        )  # fmt: skip
        return bhs + text + bytes(-len(text) & 3)

    def log_in(self, keys: dict[str, str] | None = None, **login: int) -> Pdu:
        """Log in in one request, from the operational stage; returns the last response."""
        self.feed(self.login_request(keys, **login))
        answer = self.receive()[-1]
        self.header_digest = (keys or {}).get("HeaderDigest") == "CRC32C"
        self.data_digest = (keys or {}).get("DataDigest") == "CRC32C"
        return answer

    def request(
        self, cdb: bytes, *, read: int = 0, write: bytes = b"", edtl: int | None = None, **fields: int
    ) -> bytes:
        """The bytes of a SCSI Command with immediate data; the next ITT and CmdSN."""
        self.itt += 1
        flags = 0x81 | (0x40 if read else 0) | (0x20 if write or fields.pop("writes", 0) else 0)
        values = {"flags": flags, "itt": self.itt, "cmd_sn": self.cmd_sn, "lun": encode_lun(0)} | fields
        bhs = make_bhs(
            Opcode.SCSI_COMMAND, cdb=cdb, edtl=edtl if edtl is not None else read or len(write),
            data_length=len(write), **values,
        )  # fmt: skip
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return self.seal(bhs, write)

    def command(self, cdb: bytes, **how: object) -> list[Pdu]:
        """Send a command and return what came."""
        self.feed(self.request(cdb, **how))  # type: ignore[arg-type]
        return self.receive()

    def data_out(
        self, itt: int, data: bytes, offset: int, *, ttt: int = NO_TAG, sn: int = 0, final: bool = True
    ) -> bytes:
        """The bytes of a Data-Out."""
        bhs = make_bhs(
            Opcode.DATA_OUT, flags=0x80 if final else 0, itt=itt, ttt=ttt, data_sn=sn, buffer_offset=offset,
            data_length=len(data), lun=encode_lun(0),
        )  # fmt: skip
        return self.seal(bhs, data)


wire: Callable[[Target, Connection], Wire] = Wire
"""What makes the initiator's end; the fixture ``twin`` changes it."""


def read10(lba: int, blocks: int) -> bytes:
    return b"\x28\0" + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


def write10(lba: int, blocks: int, fua: bool = False) -> bytes:
    return b"\x2a" + (b"\x08" if fua else b"\0") + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


def abort(itt: int, ref_cmdsn: int, cmdsn: int) -> bytes:
    """An immediate ABORT TASK."""
    bhs = bytearray(
        make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x81, itt=99, rtt=itt, lun=encode_lun(0), cmd_sn=cmdsn)
    )
    bhs[32:36] = ref_cmdsn.to_bytes(4, "big")
    return bytes(bhs)
