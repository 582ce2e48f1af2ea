"""Synthetic iSCSI traffic as the probes see it: every PDU's header is made here from RFC 7143 chapter 11."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from iscsitools.probes.firing import XFER_READ, XFER_WRITE, Probes
from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import RESERVED_TAG, Info, Probe, info_of
from iscsitools.trace.events import ConnectionStrings, Event

TARGET = "iqn.2026-11.example:disks"
CHECK_CONDITION = 0x02
MEDIUM_ERROR = 0x031100


def connection(
    ident: int,
    remote: str = "192.0.2.7:40001",
    tsih: str = "0x0001",
    initiator: str = "iqn.2026-11.example:a",
    target: str = TARGET,
    isid: str = "400001370000",
) -> ConnectionInfo:
    return ConnectionInfo(ident, "198.51.100.1:3260", remote, "ipv4", target, initiator, isid, tsih)


def strings(info: ConnectionInfo) -> ConnectionStrings:
    names = ("ident", "local", "remote", "protocol", "target", "initiator", "isid", "tsih", "transport")
    return ConnectionStrings(*(getattr(info, name) for name in names))


def header(
    opcode: int, flags: int, *, third: int = 0, status: int = 0, length: int = 0, itt: int = 0, word20: int = 0,
    tail: bytes = b"",
) -> bytes:  # fmt: skip
    """A BHS: ``word20`` is the Target Transfer Tag or the Referenced Task Tag, ``tail`` what begins at byte 32."""
    front = struct.pack(">BBBBI8xIIII", opcode, flags, third, status, length, itt, word20, 1, 1)
    return (front + tail).ljust(48, b"\0")


@dataclass
class Fired:
    """One call of a call site, at ``time`` nanoseconds."""

    time: int
    probe: Probe
    conn: ConnectionInfo
    lun: int
    bhs: bytes = b""
    cdb: bytes = b""
    sense: int = 0
    xfer: tuple[int, int, int, int, int, int] | None = None

    def event(self, sequence: int) -> Event:
        """What a reader gets of it."""
        conn = strings(self.conn)
        if self.xfer is not None:
            xfer = Xfer(*self.xfer)
            info = Info(self.lun, xfer.itt, xfer.ttt, 0, 0, 0, 0, 0)
            return Event(sequence, self.time, self.probe, conn, info, b"", 0, b"", 0, xfer)
        info = info_of(self.probe, self.bhs, self.lun)
        cdb = self.cdb[:32]
        return Event(sequence, self.time, self.probe, conn, info, cdb, len(self.cdb), self.bhs, self.sense, None)

    def fire(self, probes: Probes) -> None:
        if self.xfer is not None:
            probes.xfer(self.probe, self.conn, self.lun, *self.xfer)
        else:
            probes.pdu(self.probe, self.conn, self.lun, self.bhs, 0, self.cdb, self.sense)


@dataclass
class Script:
    """Calls in order. ``now`` is the time of the next one; each moves it on by 1 us unless told otherwise."""

    now: int = 1_000_000_000
    calls: list[Fired] = field(default_factory=list)
    _itt: int = 0

    def events(self) -> Iterator[Event]:
        return (call.event(n) for n, call in enumerate(self.calls, 1))

    def wait(self, nanoseconds: int) -> None:
        self.now += nanoseconds

    def next_itt(self) -> int:
        self._itt += 1
        return self._itt

    def put(self, probe: Probe, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes = b"", sense: int = 0) -> None:
        self.calls.append(Fired(self.now, probe, conn, lun, bhs, cdb, sense))
        self.now += 1000

    def command(
        self, conn: ConnectionInfo, cdb: bytes, itt: int, *, lun: int = 0, flags: int = 0, immediate: int = 0
    ) -> None:
        bhs = header(0x01, 0x80 | flags, length=immediate, itt=itt, tail=cdb[:16])
        self.put(Probe.SCSI_COMMAND, conn, lun, bhs, cdb)

    def respond(
        self, conn: ConnectionInfo, itt: int, *, lun: int = 0, status: int = 0, sense: int = 0, response: int = 0
    ) -> None:
        bhs = header(0x21, 0x80, third=response, status=status, itt=itt)
        self.put(Probe.SCSI_RESPONSE, conn, lun, bhs, sense=sense)

    def data_in(self, conn: ConnectionInfo, itt: int, length: int, *, lun: int = 0, last: bool = False) -> None:
        bhs = header(0x25, 0x81 if last else 0, length=length, itt=itt, word20=RESERVED_TAG)
        self.put(Probe.DATA_SEND, conn, lun, bhs)

    def data_out(self, conn: ConnectionInfo, itt: int, length: int, *, lun: int = 0, ttt: int = RESERVED_TAG) -> None:
        self.put(Probe.DATA_RECEIVE, conn, lun, header(0x05, 0x80, length=length, itt=itt, word20=ttt))

    def request(self, conn: ConnectionInfo, itt: int, length: int, *, lun: int = 0, ttt: int = 9) -> None:
        tail = struct.pack(">IIII", 1, 0, 0, length)
        self.put(Probe.DATA_REQUEST, conn, lun, header(0x31, 0x80, itt=itt, word20=ttt, tail=tail))

    def transfer(self, conn: ConnectionInfo, itt: int, length: int, kind: int, *, lun: int = 0, done: bool) -> None:
        probe = Probe.XFER_DONE if done else Probe.XFER_START
        xfer = (itt, RESERVED_TAG, 0x1000, 0, length, kind)
        self.calls.append(Fired(self.now, probe, conn, lun, xfer=xfer))
        self.now += 1000

    def manage(self, conn: ConnectionInfo, function: int, *, itt: int, referenced: int, lun: int = 0) -> None:
        bhs = header(0x02, 0x80 | function, itt=itt, word20=referenced)
        self.put(Probe.TASK_COMMAND, conn, lun, bhs)

    def managed(self, conn: ConnectionInfo, itt: int, response: int = 0) -> None:
        self.put(Probe.TASK_RESPONSE, conn, 0, header(0x22, 0x80, third=response, itt=itt))

    def login(self, conn: ConnectionInfo) -> None:
        self.put(Probe.LOGIN_COMMAND, conn, 0, header(0x43, 0x87))
        self.put(Probe.LOGIN_RESPONSE, conn, 0, header(0x23, 0x87))

    def logout(self, conn: ConnectionInfo) -> None:
        self.put(Probe.LOGOUT_COMMAND, conn, 0, header(0x46, 0x80))
        self.put(Probe.LOGOUT_RESPONSE, conn, 0, header(0x26, 0x80))

    def read(
        self, conn: ConnectionInfo, blocks: int = 8, *, lun: int = 0, pdus: int = 1, backstore: int = 50_000,
        sending: int = 0, itt: int | None = None,
    ) -> None:  # fmt: skip
        """READ(10) that is answered in Data-In alone; ``sending`` is from the status to the end of the transfer."""
        itt = self.next_itt() if itt is None else itt
        length = blocks * 512
        cdb = struct.pack(">BBIBHB", 0x28, 0, 2048, 0, blocks, 0)
        self.command(conn, cdb, itt, lun=lun, flags=0x40)
        self.wait(backstore)
        self.transfer(conn, itt, length, XFER_READ, lun=lun, done=False)
        for n in range(pdus):
            self.data_in(conn, itt, length // pdus, lun=lun, last=n == pdus - 1)
        self.wait(sending)
        self.transfer(conn, itt, length, XFER_READ, lun=lun, done=True)

    def write(
        self, conn: ConnectionInfo, blocks: int = 8, *, lun: int = 0, immediate: bool = True, waiting: int = 30_000,
        backstore: int = 50_000,
    ) -> None:  # fmt: skip
        """WRITE(10), its data immediate or asked for by one R2T and sent in two Data-Outs."""
        itt = self.next_itt()
        length = blocks * 512
        cdb = struct.pack(">BBIBHB", 0x2A, 0, 4096, 0, blocks, 0)
        self.command(conn, cdb, itt, lun=lun, flags=0x20, immediate=length if immediate else 0)
        if not immediate:
            self.request(conn, itt, length, lun=lun)
        self.transfer(conn, itt, length, XFER_WRITE, lun=lun, done=False)
        if not immediate:
            self.wait(waiting)
            self.data_out(conn, itt, length // 2, lun=lun, ttt=9)
            self.data_out(conn, itt, length // 2, lun=lun, ttt=9)
        self.transfer(conn, itt, length, XFER_WRITE, lun=lun, done=True)
        self.wait(backstore)
        self.respond(conn, itt, lun=lun)

    def fail(self, conn: ConnectionInfo, *, lun: int = 0, sense: int = MEDIUM_ERROR) -> None:
        """READ(16) that ends with CHECK CONDITION."""
        itt = self.next_itt()
        self.command(conn, struct.pack(">BBQIBB", 0x88, 0, 7, 8, 0, 0), itt, lun=lun, flags=0x40)
        self.wait(20_000)
        self.respond(conn, itt, lun=lun, status=CHECK_CONDITION, sense=sense)

    def test_unit_ready(self, conn: ConnectionInfo, *, lun: int = 0) -> None:
        itt = self.next_itt()
        self.command(conn, bytes(6), itt, lun=lun)
        self.respond(conn, itt, lun=lun)


def mixed(prime_reads: int = 101, prime_writes: int = 53) -> Script:
    """Two clients, IPv4 and IPv6, two LUNs, prime numbers of everything, spread over a bit more than two seconds."""
    script = Script()
    one, two = (
        connection(1),
        connection(2, "[2001:db8::7]:51000", "0x0002", "iqn.2026-11.example:b", isid="400001370001"),
    )
    script.login(one)
    script.login(two)
    for n in range(prime_reads):
        script.read(one, 16, pdus=2, lun=n % 2, backstore=20_000 + 997 * n)
        script.wait(15_000_000)
    for n in range(prime_writes):
        script.write(two, 8, immediate=n % 2 == 0)
        script.wait(10_000_000)
    for _ in range(7):
        script.fail(two, lun=1)
    for _ in range(3):
        script.test_unit_ready(one)
    script.logout(one)
    return script
