"""The provider's rules on the wire, out of ``trace.attach()``: transfers, LUNs, CDBs, names, addresses."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from initiator import NO_TAG, Opcode, Session
from initiator.pdu import make_bhs
from support.target import RunningTarget, start_target

from iscsitools.probes.sites import XFER_READ, XFER_WRITE
from iscsitools.probes.table import Probe
from iscsitools.trace import Event, attach

from .commands import watch_socket
from .work import read10, write10

TARGET = "iqn.2026-11.example:rules"
QUICK, SLOW, FAR, FILE = 0, 1, 300, 4
HUNDRED = 100 * 512


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    directory = tmp_path_factory.mktemp("rules")
    luns = {
        QUICK: "ram:8M",
        SLOW: "ram+delay:8M,delay.read=300ms,delay.write=300ms",
        FAR: "ram:1M",
        FILE: f"file:{directory / 'disk'},size=8M",
    }
    options = [part for number, what in luns.items() for part in ("--lun", f"{number}={what}")]
    with start_target(directory, "--iqn", TARGET, *options, portals=("127.0.0.1:0", "[::1]:0")) as running:
        yield running


@pytest.fixture(params=["alone", "beside another"])
def company(request: pytest.FixtureRequest, target: RunningTarget) -> Iterator[None]:
    """Whether somebody else reads the same events: call sites may take other ways then."""
    if request.param == "alone":
        yield
    else:
        with attach(socket=watch_socket(target)):
            yield


@contextmanager
def watched(target: RunningTarget) -> Iterator[Callable[[], list[Event]]]:
    """A function that returns the events so far; it ends with those of a login that marks the place."""
    with attach(socket=watch_socket(target)) as trace:
        seen: list[Event] = []

        def events() -> list[Event]:
            with Session.connect(target.addresses[0], TARGET, initiator="iqn.2026-11.example:mark", isid=0x40) as mark:
                own = f"127.0.0.1:{mark.wire.sock.getsockname()[1]}"
            while not any(e.conn.remote == own and e.conn.initiator and e.probe is Probe.LOGIN_RESPONSE for e in seen):
                seen.extend(trace.poll(30))
            return [event for event in seen if not event.conn.initiator.endswith(":mark")]

        yield events


def settled(target: RunningTarget, address: int = 0, isid: int = 0x400001370000) -> Session:
    """A session whose unit attentions are over."""
    session = Session.connect(target.addresses[address], TARGET, isid=isid)
    for lun in (QUICK, SLOW, FAR, FILE):
        session.read_capacity(lun)
    return session


def transfers(events: list[Event]) -> list[tuple[Event, Event]]:
    """Every transfer's start and end; fails unless each has both, once, in this order."""
    opened: dict[tuple[int, int, int], Event] = {}
    pairs = []
    for event in events:
        if event.xfer is not None:
            key = (event.conn.ident, event.xfer.itt, event.xfer.laddr)
            if event.probe is Probe.XFER_START:
                assert key not in opened, event
                opened[key] = event
            else:
                pairs.append((opened.pop(key), event))
    assert not opened
    return pairs


def of(events: list[Event], probe: Probe, itt: int) -> list[Event]:
    return [event for event in events if event.probe is probe and event.info.itt == itt]


@pytest.mark.parametrize("lun", [QUICK, SLOW, FILE])
@pytest.mark.usefixtures("company")
def test_a_read_is_one_transfer_around_its_data(target: RunningTarget, lun: int) -> None:
    with settled(target) as session, watched(target) as events:
        task = session.start_command(read10(7, 100), lun, read=HUNDRED)
        session.wait(task)
        ((start, done),) = [p for p in transfers(events()) if p[0].info.itt == task.itt]
        assert start.xfer is not None
        assert start.xfer == done.xfer
        assert (start.xfer.type, start.xfer.length, start.xfer.loffset) == (XFER_READ, HUNDRED, 0)
        assert (start.info.ttt, start.info.lun) == (NO_TAG, lun)
        (sent,) = of(events(), Probe.DATA_SEND, task.itt)
        assert start.sequence < sent.sequence < done.sequence
        assert not of(events(), Probe.SCSI_RESPONSE, task.itt)
        assert sent.info.flags & 1


@pytest.mark.parametrize("lun", [QUICK, SLOW, FILE])
@pytest.mark.usefixtures("company")
def test_all_unsolicited_data_is_one_transfer(target: RunningTarget, lun: int) -> None:
    with settled(target) as session, watched(target) as events:
        for immediate, unsolicited in ((True, False), (False, True)):
            task = session.start_command(
                write10(7, 100), lun, write=bytes(HUNDRED), immediate=immediate, unsolicited=unsolicited
            )
            session.wait(task)
            ((start, done),) = [p for p in transfers(events()) if p[0].info.itt == task.itt]
            assert start.xfer is not None
            assert start.xfer == done.xfer
            assert (start.xfer.type, start.xfer.length, start.xfer.loffset) == (XFER_WRITE, HUNDRED, 0)
            assert start.xfer.ttt == start.info.ttt == NO_TAG
            (response,) = of(events(), Probe.SCSI_RESPONSE, task.itt)
            assert start.sequence < done.sequence < response.sequence


@pytest.mark.parametrize("lun", [QUICK, SLOW])
def test_each_r2t_is_one_transfer(target: RunningTarget, lun: int) -> None:
    with Session.connect(target.addresses[0], TARGET, keys={"MaxBurstLength": "16384"}) as session:
        session.read_capacity(lun)
        with watched(target) as events:
            task = session.start_command(write10(0, 100), lun, write=bytes(HUNDRED), immediate=False, unsolicited=False)
            session.wait(task)
            pairs = [p for p in transfers(events()) if p[0].info.itt == task.itt]
            asked = of(events(), Probe.DATA_REQUEST, task.itt)
            moved = [(s.xfer.ttt, s.xfer.loffset, s.xfer.length, d.xfer.length) for s, d in pairs if s.xfer and d.xfer]
            sizes = (16384, 16384, 16384, HUNDRED - 3 * 16384)
            assert moved == [
                (r2t.info.ttt, n * 16384, size, size) for n, (r2t, size) in enumerate(zip(asked, sizes, strict=True))
            ]


def open_write(session: Session, lun: int) -> int:
    """A write whose R2T was sent and is not answered; returns its tag."""
    task = session.start_command(
        write10(0, 100), lun, write=bytes(HUNDRED), immediate=False, unsolicited=False, hold_r2ts=True
    )
    session.until(lambda pdu: pdu.opcode == Opcode.R2T)
    return task.itt


@pytest.mark.usefixtures("company")
def test_an_aborted_transfer_ends_with_what_had_moved(target: RunningTarget) -> None:
    with settled(target) as session, watched(target) as events:
        itt = open_write(session, QUICK)
        ttt = session.tasks[itt].pdus[0].ttt
        bhs = make_bhs(Opcode.DATA_OUT, flags=0, itt=itt, ttt=ttt, exp_stat_sn=session.exp_stat_sn)
        session.send_pdu(bhs, data=bytes(4096))
        assert session.manage(1, QUICK, rtt=itt, immediate=False).response == 0
        ((start, done),) = [p for p in transfers(events()) if p[0].info.itt == itt]
        assert start.xfer is not None
        assert done.xfer is not None
        assert (start.xfer.length, done.xfer.length) == (HUNDRED, 4096)
        (answer,) = [e for e in events() if e.probe is Probe.TASK_RESPONSE]
        assert done.sequence < answer.sequence


@pytest.mark.usefixtures("company")
def test_transfers_end_with_their_connection(target: RunningTarget) -> None:
    with watched(target) as events:
        session = settled(target)
        itt = open_write(session, QUICK)
        reads = [session.start_command(read10(0, 4096), FILE, read=1 << 21).itt for _ in range(16)]
        session.until(lambda pdu: pdu.opcode == Opcode.DATA_IN)
        session.close()
        with settled(target):  # the same initiator port again: the old session is over before this one's first answer
            pass
        pairs = transfers(events())
        by_itt = Counter(start.info.itt for start, _ in pairs)
        assert by_itt[itt] == 1
        assert all(by_itt[read] <= 1 for read in reads)
        (lost,) = [p for p in pairs if p[0].info.itt == itt]
        assert lost[1].xfer is not None
        assert lost[1].xfer.length == 0


@pytest.mark.usefixtures("company")
def test_a_command_in_the_backstore_when_its_connection_is_lost(target: RunningTarget) -> None:
    with watched(target) as events:
        session = settled(target)
        task = session.start_command(write10(0, 100), SLOW, write=bytes(HUNDRED), immediate=True, unsolicited=False)
        session.start_command(read10(0, 100), SLOW, read=HUNDRED)
        session.nop()  # the two commands before it are under way
        session.close()
        with settled(target):
            pass
        pairs = transfers(events())
        assert [s.info.itt for s, _ in pairs].count(task.itt) == 1


@pytest.mark.parametrize("size", [17, 32, 33, 260])
def test_an_extended_cdb_is_whole(target: RunningTarget, size: int) -> None:
    cdb = bytes([0x7F, 0, 0, 0, 0, 0, 0, size - 8, 0, 0x09]) + bytes(n & 0xFF for n in range(10, size))
    with settled(target) as session, watched(target) as events:
        task = session.start_command(cdb)
        session.wait(task)
        (command,) = of(events(), Probe.SCSI_COMMAND, task.itt)
        assert command.cdb_length == len(cdb)
        assert command.cdb == cdb[:32]


@pytest.mark.parametrize(("cdb", "length"), [(0x00, 6), (0x28, 10), (0x5A, 10), (0x88, 16), (0xA0, 12), (0x7E, 16)])
def test_the_length_of_a_cdb_is_its_groups(target: RunningTarget, cdb: int, length: int) -> None:
    sent = bytes([cdb]) + bytes(range(1, 16))
    with settled(target) as session, watched(target) as events:
        task = session.start_command(sent, QUICK)
        session.wait(task)
        (command,) = of(events(), Probe.SCSI_COMMAND, task.itt)
        assert (command.cdb_length, command.cdb) == (length, sent[:length])


@pytest.mark.parametrize(("field", "number"), [(5 << 48, 5), (0x4005 << 48, 5), (0x412C << 48, 300)])
def test_a_lun_is_its_unit_number(target: RunningTarget, field: int, number: int) -> None:
    with settled(target) as session, watched(target) as events:
        session.command(bytes(6))
        itt = session.request(Opcode.SCSI_COMMAND, flags=0x81, lun=field)
        pdu = session.recv_pdu()
        assert pdu.itt == itt
        ping = session.request(Opcode.NOP_OUT, True, ttt=NO_TAG, lun=field)
        session.until(lambda pdu: pdu.opcode == Opcode.NOP_IN and pdu.itt == ping)
        abort = session.request(Opcode.TASK_REQUEST, True, flags=0x81, lun=field, rtt=77)
        session.until(lambda pdu: pdu.opcode == Opcode.TASK_RESPONSE)
        seen = [
            (Probe.SCSI_COMMAND, itt), (Probe.SCSI_RESPONSE, itt), (Probe.NOP_RECEIVE, ping), (Probe.NOP_SEND, ping),
            (Probe.TASK_COMMAND, abort),
        ]  # fmt: skip
        for probe, tag in seen:
            (event,) = of(events(), probe, tag)
            assert event.info.lun == number
        (answer,) = of(events(), Probe.TASK_RESPONSE, abort)
        assert answer.info.lun == 0


def test_addresses_and_names(target: RunningTarget) -> None:
    with watched(target) as events:
        for address, isid in ((0, 0x80123456789A), (1, 0x00023D000001)):
            with settled(target, address, isid) as session:
                host, port = session.wire.sock.getpeername()[:2]
                own = session.wire.sock.getsockname()[1]
                name = "[::1]" if ":" in host else host
                mine = [e for e in events() if e.conn.remote == f"{name}:{own}"]
                tsih = session.agreed.tsih
            assert {e.conn.local for e in mine} == {f"{name}:{port}"}
            assert {e.conn.protocol for e in mine} == {"ipv6" if address else "ipv4"}
            assert {e.conn.isid for e in mine} == {f"{isid:012x}"}
            assert {e.conn.transport for e in mine} == {"sockets"}
            first, *others = mine
            assert first.probe is Probe.LOGIN_COMMAND
            assert (first.conn.target, first.conn.initiator, first.conn.tsih) == ("", "", "0x0000")
            assert {(e.conn.target, e.conn.initiator) for e in others} == {(TARGET, "iqn.2026-11.example:initiator")}
            full = next(
                n for n, e in enumerate(mine) if e.probe is Probe.LOGIN_RESPONSE and e.info.flags & 0x83 == 0x83
            )
            assert {e.conn.tsih for e in mine[full:]} == {f"0x{tsih:04x}"}


def test_a_sense_code_goes_with_its_response(target: RunningTarget) -> None:
    with settled(target) as session, watched(target) as events:
        task = session.start_command(struct.pack(">BBIBHB", 0x28, 0, 0xFFFFFF00, 0, 8, 0), QUICK, read=4096)
        key, asc, ascq = session.wait(task).sense_code
        (response,) = of(events(), Probe.SCSI_RESPONSE, task.itt)
        assert response.sense == key << 16 | asc << 8 | ascq != 0


@pytest.mark.parametrize(
    "probes",
    [["scsi-command"], ["data-send"], ["scsi-response"], ["xfer-start"], ["xfer-done"], ["data-send", "xfer-done"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("company")
def test_a_reader_gets_what_it_asked_for(target: RunningTarget, probes: list[str]) -> None:
    with settled(target) as session, attach(socket=watch_socket(target), probes=probes) as trace:
        for _ in range(3):
            session.read(0, 8, QUICK)
            session.write(0, bytes(4096), QUICK)
        session.write(0, bytes(4096), FILE, immediate=False, unsolicited=False)
        session.read(0, 8, FILE)
        expected = {"scsi-command": 8, "data-send": 4, "scsi-response": 4, "xfer-start": 8, "xfer-done": 8}
        events: list[Event] = []
        while len(events) < sum(expected[probe] for probe in probes):
            events += trace.poll(30)
        session.nop()
        events += trace.poll(0)
        assert Counter(event.probe.label for event in events) == {probe: expected[probe] for probe in probes}
