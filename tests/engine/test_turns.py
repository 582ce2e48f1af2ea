"""The budget of a turn: a flood of one connection is served in pieces, and all of it."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, encode_lun, make_bhs
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.connection.turns import REQUEST_WORK, TURN_WORK
from iscsitools.iscsi.login.policy import TargetNode

from .harness import Target, Wire, read10, write10

MOST = TURN_WORK // REQUEST_WORK
"""PDUs off the data path in one turn."""


def command(cdb: bytes, *, read: int = 0) -> bytes:
    flags = 0xC1 if read else 0x81
    return make_bhs(Opcode.SCSI_COMMAND, immediate=True, flags=flags, itt=1, edtl=read, lun=encode_lun(0), cdb=cdb)


def text(*pairs: bytes) -> bytes:
    data = b"".join(pair + b"\0" for pair in pairs)
    bhs = make_bhs(Opcode.TEXT_REQUEST, immediate=True, flags=0x80, itt=1, ttt=NO_TAG, data_length=len(data))
    return bhs + data + bytes(-len(data) & 3)


def management(function: int) -> bytes:
    return make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x80 | function, itt=1, lun=encode_lun(0))


FLOODS = {
    "NOP-Out": (make_bhs(Opcode.NOP_OUT, immediate=True, itt=1, ttt=NO_TAG), MOST),
    "INQUIRY": (command(bytes([0x12, 0, 0, 0, 255, 0]), read=255), MOST),
    "REPORT SUPPORTED OPERATION CODES": (command(b"\xa3\x0c\x80" + bytes(5) + b"\x20" + bytes(3), read=8192), MOST),
    "LOGICAL UNIT RESET": (management(5), MOST),
    "VERIFY of 1 MiB": (command(b"\x2f\0\0\0\0\0\0\x08\0\0"), 2),
    "READ of 1 MiB": (command(read10(0, 2048), read=1 << 20), 1),
    "Text with 500 keys": (text(*(b"X-%d=1" % n for n in range(500))), 5),
    "a Reject": (make_bhs(0x10, flags=0x80, itt=1, ttt=NO_TAG), MOST),
}


def take_all(wire: Wire) -> int:
    """The answers that are there: Data-In with status counts, and every other PDU."""
    out = b""
    while pieces := wire.conn.output():
        out += b"".join(pieces)
        wire.conn.sent(sum(map(len, pieces)), wire.target.now)
    found = 0
    while out:
        length = int.from_bytes(out[5:8], "big")
        found += out[0] != Opcode.DATA_IN or out[1] & 1
        out = out[48 + length + (-length & 3) :]
    return found


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_served_in_turns(name: str) -> None:
    pdu, most = FLOODS[name]
    wire = Target().session()
    count = min(4 * most + 3, (256 << 10) // len(pdu))
    buffer = wire.conn.get_buffers()[0]
    buffer[: len(pdu) * count] = pdu * count
    wire.conn.received(len(pdu) * count, wire.target.now)
    served = [take_all(wire)]
    while wire.conn.unfinished or wire.conn.stalled:
        wire.conn.go_on(wire.target.now)
        served.append(take_all(wire))
    assert sum(served) == count
    assert max(served) <= most
    assert len(served) >= 4


@pytest.mark.parametrize("blocks", [1, 8, 64])
def test_reads_of_the_data_path_have_the_budget_too(blocks: int) -> None:
    wire = Target().session()
    length = blocks * 512
    wire.command(read10(0, blocks), read=length)
    requests = [wire.request(read10(0, blocks), read=length) for _ in range(5000)]
    whole = b"".join(requests)[: 256 << 10]
    count = len(whole) // 48
    buffer = wire.conn.get_buffers()[0]
    buffer[: count * 48] = whole[: count * 48]
    wire.conn.received(count * 48, wire.target.now)
    served = [take_all(wire)]
    while wire.conn.unfinished or wire.conn.stalled:
        wire.conn.go_on(wire.target.now)
        served.append(take_all(wire))
    assert sum(served) == count
    assert max(served) * (length + 48) <= TURN_WORK + length + 48 + 4096


def test_what_comes_meanwhile_is_served_behind_what_waits() -> None:
    wire = Target().session()
    ping = make_bhs(Opcode.NOP_OUT, immediate=True, itt=1, ttt=NO_TAG)
    buffer = wire.conn.get_buffers()[0]
    buffer[: 48 * 100] = ping * 100
    wire.conn.received(48 * 100, wire.target.now)
    assert wire.conn.unfinished
    last = make_bhs(Opcode.NOP_OUT, immediate=True, itt=2, ttt=NO_TAG)
    wire.feed(last)
    assert [p.itt for p in wire.receive()] == [1] * 100 + [2]


def test_a_connection_that_is_to_close_takes_no_more_turns() -> None:
    wire = Target().session()
    ping = make_bhs(Opcode.NOP_OUT, immediate=True, itt=1, ttt=NO_TAG)
    buffer = wire.conn.get_buffers()[0]
    buffer[: 48 * 100] = ping * 100
    wire.conn.received(48 * 100, wire.target.now)
    wire.conn.close("enough")
    assert not wire.conn.unfinished
    wire.conn.closed()
    assert wire.target.buffers.reserved == 0


def test_answers_to_sendtargets_are_made_once_until_the_targets_change() -> None:
    target = Target()
    for number in range(50):
        target.directory.add(TargetNode(f"iqn.2026-11.example:t{number}", target.device))
    wire = target.connect()
    wire.log_in({"SessionType": "Discovery"})
    asked = 0
    before = target.directory.visible

    def visible(initiator: str, address: str) -> list[TargetNode]:
        nonlocal asked
        asked += 1
        return before(initiator, address)

    target.directory.visible = visible  # type: ignore[method-assign]

    def names() -> int:
        wire.feed(text(b"SendTargets=All"))
        return b"".join(p.data for p in wire.receive()).count(b"TargetName=")

    assert [names() for _ in range(20)] == [51] * 20
    assert asked == 1
    target.directory.add(TargetNode("iqn.2026-11.example:new", target.device))
    assert names() == 52
    target.directory.remove("iqn.2026-11.example:new")
    assert names() == 51
    assert asked == 3


def test_a_write_whose_data_does_not_come_ends_and_others_go_on() -> None:
    target = Target()
    wire, other = target.session(), target.session(isid=0x400001370002)
    wire.feed(wire.request(write10(0, 1), edtl=512, writes=1))
    stuck = wire.itt
    (r2t,) = wire.receive()
    assert wire.conn.deadline == target.now + 30_000_000_000
    other.feed(other.request(write10(0, 1), write=b"o" * 512, flags=0x82 | 0x20))  # ORDERED
    target.now += 29_000_000_000
    wire.conn.on_time(target.now)
    assert all(p.opcode != Opcode.SCSI_RESPONSE for p in wire.receive())
    target.now += 1_000_000_000
    wire.conn.on_time(target.now)
    answers = [p for p in wire.receive() if p.opcode == Opcode.SCSI_RESPONSE]
    assert [(p.itt, p.status) for p in answers] == [(stuck, 2)]
    assert (answers[0].data[4] & 0xF, answers[0].data[14:16]) == (0xB, b"\x4b\x06")
    assert [p.status for p in other.receive()] == [0]
    wire.feed(wire.data_out(stuck, b"x" * 512, 0, ttt=r2t.ttt))
    assert wire.receive() == []
    assert target.buffers.reserved == 0
    assert other.command(read10(0, 1), read=512)[0].data == b"o" * 512


def test_without_that_timer_a_write_waits_for_ever() -> None:
    target = Target()
    wire = target.connect(Timers(nop_interval=0, data_out=0))
    wire.log_in()
    wire.command(bytes(6))
    wire.feed(wire.request(write10(0, 1), edtl=512, writes=1))
    (r2t,) = wire.receive()
    target.now += 1_000_000_000_000
    assert wire.conn.deadline == 0
    wire.conn.on_time(target.now)
    wire.feed(wire.data_out(wire.itt, b"x" * 512, 0, ttt=r2t.ttt))
    assert [p.status for p in wire.receive()] == [0]


def test_each_sequence_of_a_write_has_its_own_time() -> None:
    target = Target()
    wire = target.session({"MaxBurstLength": "512", "FirstBurstLength": "512", "MaxOutstandingR2T": "1"})
    wire.feed(wire.request(write10(0, 3), edtl=1536, writes=1))
    for number in range(3):
        (r2t,) = wire.receive()
        target.now += 29_000_000_000
        wire.conn.on_time(target.now)
        assert [p.opcode for p in wire.receive()] in ([], [Opcode.NOP_IN])
        wire.feed(wire.data_out(wire.itt, b"x" * 512, number * 512, ttt=r2t.ttt))
    assert [p.status for p in wire.receive()] == [0]


def test_a_response_that_waits_for_data_waits_no_longer_than_that() -> None:
    """The command fails before its unsolicited data has come; its response waits for the end of it."""
    target = Target()
    wire = target.session()
    wire.feed(wire.request(write10(1 << 20, 1), edtl=512, flags=0x21))
    assert wire.receive() == []
    target.now += 30_000_000_000
    wire.conn.on_time(target.now)
    answers = [p for p in wire.receive() if p.opcode == Opcode.SCSI_RESPONSE]
    assert [(p.status, p.data[4] & 0xF) for p in answers] == [(2, 5)]
    assert wire.conn.waiting == 0
