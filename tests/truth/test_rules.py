"""The provider's rules on the wire, out of ``trace.attach()``: what a reader gets, CDBs, LUNs, names, addresses."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from support.target import RunningTarget

from iscsitools.initiator import NO_TAG, Opcode, Session, make_bhs
from iscsitools.probes.table import Probe
from iscsitools.trace import Event, attach

from .commands import watch_socket
from .rules import FILE, QUICK, TARGET, of, settled, watched
from .work import long_text, write10


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


NO_UNITS = (0xC101 << 48, 0x0105 << 48, 0x4005_0001 << 32, 0xFFFF_FFFF_FFFF_FFFF)
"""A well known unit, one on another bus, one of a second level, and nonsense (SAM-5 4.7)."""


@pytest.mark.parametrize(
    ("field", "number"), [(5 << 48, 5), (0x4005 << 48, 5), (0x412C << 48, 300), *zip(NO_UNITS, NO_UNITS, strict=True)]
)
def test_a_lun_is_its_unit_number_or_what_was_sent(target: RunningTarget, field: int, number: int) -> None:
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


def test_a_command_is_seen_once_when_it_comes_whatever_its_turn(target: RunningTarget) -> None:
    """One that came early is held; one that came before is ignored (RFC 7143 4.2.2.1); the probe fires for each."""
    with settled(target) as session, watched(target) as events:
        turn = session.cmd_sn
        early = session.request(Opcode.SCSI_COMMAND, False, flags=0x81, cmd_sn=turn + 1)
        right = session.request(Opcode.SCSI_COMMAND, False, flags=0x81, cmd_sn=turn)
        for _ in range(2):
            session.recv_pdu()
        again = session.request(Opcode.SCSI_COMMAND, False, flags=0x81, cmd_sn=turn)
        session.cmd_sn = turn + 2
        session.nop()
        seen = events()
        order = [e.info.itt for e in seen if e.probe is Probe.SCSI_COMMAND and e.info.itt in (early, right, again)]
        assert order == [early, right, again]
        answered = [e.info.itt for e in seen if e.probe is Probe.SCSI_RESPONSE and e.info.itt in order]
        assert answered == [right, early]


def test_a_text_exchange_of_several_pdus(target: RunningTarget) -> None:
    keys = {"MaxRecvDataSegmentLength": "512"}
    with Session.connect(target.addresses[0], TARGET, keys=keys) as session, watched(target) as events:
        pdus = long_text(session)
        told = of(events(), Probe.TEXT_RESPONSE, pdus[0].itt)
        assert [(e.info.flags, e.info.ttt, e.info.statsn, e.info.datalen) for e in told] == [
            (pdu.flags, pdu.ttt, pdu.stat_sn, len(pdu.data)) for pdu in pdus
        ]
        assert [pdu.flags for pdu in pdus] == [0x00, *[0x40] * (len(pdus) - 2), 0x80]
        asked = of(events(), Probe.TEXT_COMMAND, pdus[0].itt)
        assert [e.info.ttt for e in asked] == [NO_TAG, *(pdu.ttt for pdu in pdus[:-1])]
        assert [e.info.flags for e in asked] == [0x40, *[0x80] * (len(pdus) - 1)]
        assert len(pdus) > 3


def test_data_that_comes_is_of_its_tasks_unit(target: RunningTarget) -> None:
    """Data-Out need not repeat the LUN (RFC 7143 11.7.4)."""
    with settled(target) as session, watched(target) as events:
        task = session.start_command(
            write10(0, 8), FILE, write=bytes(4096), immediate=False, unsolicited=False, hold_r2ts=True
        )
        r2t = session.until(lambda pdu: pdu.opcode == Opcode.R2T)
        bhs = make_bhs(Opcode.DATA_OUT, itt=task.itt, ttt=r2t.ttt, exp_stat_sn=session.exp_stat_sn, lun=0)
        session.send_pdu(bhs, data=bytes(4096))
        session.wait(task)
        (came,) = of(events(), Probe.DATA_RECEIVE, task.itt)
        assert (came.info.lun, came.info.ttt) == (FILE, r2t.ttt)


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
