"""The provider's rules of transfers on the wire: pairs, also when a command or its connection ends."""

from __future__ import annotations

from collections import Counter

import pytest
from support.target import RunningTarget

from iscsitools.initiator import NO_TAG, Opcode, Session, make_bhs
from iscsitools.probes.firing import XFER_READ, XFER_WRITE
from iscsitools.probes.table import Probe
from iscsitools.trace import Event

from .rules import FILE, HUNDRED, QUICK, SLOW, TARGET, of, settled, watched
from .work import read10, write10


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
def test_unsolicited_data_that_does_not_all_come_is_one_transfer(target: RunningTarget) -> None:
    with settled(target) as session, watched(target) as events:
        itt = session.request(
            Opcode.SCSI_COMMAND, False, bytes(2048), flags=0x21, edtl=HUNDRED, cdb=write10(0, 100), lun=QUICK
        )  # without the F bit: Data-Outs follow
        bhs = make_bhs(Opcode.DATA_OUT, flags=0, itt=itt, ttt=NO_TAG, exp_stat_sn=session.exp_stat_sn)
        bhs = bhs[:40] + (2048).to_bytes(4, "big") + bhs[44:]
        session.send_pdu(bhs, data=bytes(1024))
        assert session.manage(1, QUICK, rtt=itt, immediate=False).response == 0
        ((start, done),) = [p for p in transfers(events()) if p[0].info.itt == itt]
        assert start.xfer is not None
        assert done.xfer is not None
        assert (start.xfer.length, done.xfer.length, start.xfer.ttt) == (HUNDRED, 3072, NO_TAG)


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
        lengths = [(s.xfer.length, d.xfer.length) for s, d in pairs if s.xfer and d.xfer and s.info.itt in reads]
        assert all(0 <= moved <= meant for meant, moved in lengths)
        assert any(moved < meant for meant, moved in lengths)  # the socket had not taken all of it
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
