"""The one account of memory: everything that an initiator can make us hold is in it, bounded, and given back."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from iscsitools.initiator import NO_TAG, Opcode, encode_lun, make_bhs
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.iscsi.session.session import Session
from iscsitools.scsi.core.nexus import Nexus

from .harness import ManualExecutor, Target, Wire, read10, write10

MIB = 1 << 20
KEYS = {"FirstBurstLength": "262144"}


def write16(blocks: int, lba: int = 0) -> bytes:
    return b"\x8a\0" + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + b"\0\0"


def begun_write(wire: Wire, length: int = 8 * MIB, segment: int = 262144) -> bytes:
    """The header of a WRITE with a long data segment, and one byte of it."""
    cdb = write16(length // 512)
    wire.itt += 1
    bhs = make_bhs(
        Opcode.SCSI_COMMAND, flags=0xA1, edtl=length, data_length=segment, itt=wire.itt, cmd_sn=wire.cmd_sn, cdb=cdb,
        lun=encode_lun(0),
    )  # fmt: skip
    wire.cmd_sn += 1
    return bhs + b"x"


def session(target: Target, number: int) -> Wire:
    keys = KEYS | {"InitiatorName": f"iqn.2026-11.example:i{number}"}
    return target.session(keys, isid=0x400001370000 + number)


def test_data_that_is_arriving_is_in_the_account():
    target = Target(memory=64 * MIB, size=16 * MIB)
    wires = [session(target, n) for n in range(20)]
    for wire in wires:
        wire.feed(begun_write(wire))
        assert target.buffers.reserved <= 64 * MIB
    assert target.buffers.reserved == 7 * 8 * MIB
    for wire in wires:
        wire.feed(bytes(262143))
    answers = [wire.receive()[0] for wire in wires]
    assert [(p.opcode, p.status) for p in answers[7:]] == [(Opcode.SCSI_RESPONSE, 8)] * 13
    assert [p.opcode for p in answers[:7]] == [Opcode.R2T] * 7
    for wire in wires:
        wire.conn.closed()
    assert (target.buffers.reserved, target.buffers.by_owner) == (0, {})


def test_the_stream_goes_on_behind_data_that_there_was_no_memory_for():
    target = Target(memory=MIB, size=16 * MIB)
    wire = session(target, 1)
    wire.feed(begun_write(wire) + bytes(262143) + wire.request(read10(0, 1), read=512))
    assert [p.opcode for p in wire.receive()] == [Opcode.SCSI_RESPONSE, Opcode.DATA_IN]


@pytest.mark.parametrize("piece", [1000, 8192, 100_001])
def test_data_without_memory_is_thrown_away_in_pieces_too(piece: int):
    target = Target(memory=MIB, size=16 * MIB)
    wire = target.session(KEYS | {"DataDigest": "CRC32C", "HeaderDigest": "CRC32C"})
    request = wire.request(write16(16384), write=bytes(262144), edtl=8 * MIB)
    wire.feed(request + wire.request(read10(0, 1), read=512), piece)
    assert [(p.opcode, p.status) for p in wire.receive()] == [(Opcode.SCSI_RESPONSE, 8), (Opcode.DATA_IN, 0)]
    assert target.buffers.reserved == 0


def test_a_request_of_another_kind_without_memory_is_rejected():
    target = Target(memory=MIB, size=16 * MIB)
    wire, other = session(target, 1), session(target, 2)
    wire.feed(wire.request(write16(1600), edtl=800 << 10, writes=1))
    assert {p.opcode for p in wire.receive()} == {Opcode.R2T}
    ping = make_bhs(Opcode.NOP_OUT, itt=7, ttt=NO_TAG, data_length=262144, cmd_sn=wire.cmd_sn)
    other.feed(ping[:24] + other.cmd_sn.to_bytes(4, "big") + ping[28:] + bytes(10000))
    other.feed(bytes(262144 - 10000))
    assert [(p.opcode, p.reason) for p in other.receive()] == [(Opcode.REJECT, 0x0A)]


def test_requests_before_their_turn_go_on_without_memory_for_their_data():
    target = Target(memory=MIB, size=16 * MIB)
    wire, other = session(target, 1), session(target, 2)
    other.feed(other.request(write16(1600), edtl=800 << 10, writes=1))
    first = wire.request(bytes(6))
    for _ in range(40):
        wire.feed(wire.request(write10(0, 8), write=b"w" * 4096))
    assert not wire.conn.close_reason
    assert target.buffers.reserved <= MIB
    wire.feed(first)
    statuses = [p.status for p in wire.receive()]
    assert statuses[0] == 0
    assert set(statuses) == {0, 8}
    assert target.buffers.reserved == 800 << 10


def test_output_that_nobody_takes_is_in_the_account():
    """200 initiators read without end, and take nothing but the first byte."""
    target = Target(memory=16 * MIB, size=16 * MIB)
    wires = [session(target, n) for n in range(200)]
    for wire in wires:
        wire.feed(b"".join(wire.request(read10(0, 512), read=262144) for _ in range(30)))
        if wire.conn.output():
            wire.conn.sent(1, target.now)
    assert target.buffers.reserved <= 17 * MIB
    unsent = sum(wire.conn.out.unsent() for wire in wires)
    assert unsent <= 18 * MIB
    good = session(target, 999)
    assert good.command(read10(0, 1), read=512)[0].status in (0, 8)
    for wire in wires:
        wire.conn.closed()
    good.conn.closed()
    assert (target.buffers.reserved, target.buffers.by_owner) == (0, {})


def test_reading_nothing_leaves_nothing():
    """A command that reads, with an Expected Data Transfer Length of 0."""
    target = Target()
    for number in range(50):
        wire = session(target, number)
        wire.feed(wire.request(bytes(6), read=1, edtl=0))
        wire.receive()
        wire.conn.closed()
    assert (target.buffers.reserved, target.buffers.by_owner) == (0, {})


def test_more_connections_bring_no_more_memory():
    target = Target(memory=16 * MIB, size=16 * MIB, executor=ManualExecutor(), slow=True)
    wires = [target.session(KEYS, isid=0x400001370000 + n) for n in range(4)]
    for wire in wires:
        wire.feed(b"".join(wire.request(write10(0, 2048), edtl=MIB, writes=1) for _ in range(8)))
        wire.receive()
    assert target.buffers.reserved == 8 * MIB
    other = session(target, 1)
    other.feed(other.request(write10(0, 2048), edtl=MIB, writes=1))
    assert {p.opcode for p in other.receive()} == {Opcode.R2T}


def test_a_segment_that_trickles_has_a_deadline():
    target = Target()
    wire = session(target, 1)
    wire.feed(begun_write(wire, MIB))
    for _ in range(61):
        target.now += 1_000_000_000
        assert wire.conn.deadline > target.now
        wire.feed(b"y")
    target.now += 2_000_000_000
    assert wire.conn.deadline <= target.now
    wire.conn.on_time(target.now)
    assert wire.conn.close_reason == "a data segment that does not come"
    wire.conn.closed()
    assert target.buffers.reserved == 0


def arriving(target: Target, number: int) -> None:
    wire = session(target, number)
    wire.feed(begun_write(wire, MIB))
    wire.conn.closed()


def unread(target: Target, number: int) -> None:
    wire = session(target, number)
    wire.feed(b"".join(wire.request(read10(0, 512), read=262144) for _ in range(8)))
    wire.conn.output()
    wire.conn.sent(1, target.now)
    wire.conn.closed()


def held(target: Target, number: int) -> None:
    wire = session(target, number)
    wire.request(bytes(6))
    wire.feed(b"".join(wire.request(write10(0, 8), write=bytes(4096)) for _ in range(100)))
    wire.conn.closed()


def waiting(target: Target, number: int) -> None:
    wire = session(target, number)
    wire.feed(b"".join(wire.request(write10(0, 64), edtl=32768, writes=1) for _ in range(60)))
    wire.conn.closed()


def text(target: Target, number: int) -> None:
    wire = session(target, number)
    data = b"X-key=" + b"v" * 2000 + b"\0" * 2
    bhs = make_bhs(
        Opcode.TEXT_REQUEST, immediate=True, flags=0x40, itt=9, ttt=NO_TAG, cmd_sn=wire.cmd_sn, data_length=len(data)
    )
    wire.feed(bhs + data)
    assert target.buffers.reserved == len(data)
    wire.conn.closed()


def half_a_pdu(target: Target, number: int) -> None:
    wire = session(target, number)
    wire.feed(bytes(40))
    assert target.buffers.reserved == 40
    wire.conn.closed()


@pytest.mark.parametrize("attack", [arriving, unread, held, waiting, text, half_a_pdu])
def test_a_second_round_of_an_attack_costs_no_more_than_the_first(attack: Callable[[Target, int], None]):
    target = Target(size=16 * MIB)

    def round_of() -> int:
        for number in range(30):
            attack(target, number)
        assert (target.buffers.reserved, target.buffers.by_owner) == (0, {})
        target.woken.clear()
        target.closed.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first, second = round_of(), round_of()
    finally:
        tracemalloc.stop()
    assert second <= first + 64 * 1024


def test_two_targets_share_nothing():
    one, other = Target(), Target()
    wire = session(one, 1)
    wire.feed(begun_write(wire, MIB))
    assert one.buffers.reserved == MIB
    assert other.buffers.reserved == 0
    assert one.buffers.receive is not other.buffers.receive


def alive() -> int:
    """Connections, sessions and nexuses that are in memory, whether anybody can reach them or not."""
    return sum(isinstance(each, Connection | Session | Nexus) for each in gc.get_objects())


def silent(target: Target, number: int) -> None:
    target.connect().conn.closed()


def half_a_login(target: Target, number: int) -> None:
    wire = target.connect()
    wire.feed(make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=0x44, isid=number, cid=1, data_length=64) + b"Init")
    wire.conn.closed()


def logged_out(target: Target, number: int) -> None:
    wire = session(target, number)
    assert wire.command(read10(0, 1), read=512)[0].status == 0
    wire.feed(make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x80, itt=7, cmd_sn=wire.cmd_sn))
    wire.conn.closed()


def reinstated(target: Target, number: int) -> None:
    wire, other = session(target, 1), session(target, 1)
    assert wire.conn.close_reason
    wire.conn.closed()
    other.conn.closed()


ENDS = [silent, half_a_login, logged_out, reinstated, arriving, unread, held, waiting, text, half_a_pdu]


@pytest.mark.parametrize("end", ENDS)
def test_a_connection_that_has_ended_is_gone_at_once(end: Callable[[Target, int], None]):
    """Not only when Python looks for objects that hold each other: until then they would be in nobody's account."""
    target = Target(size=16 * MIB)
    session(target, 99)
    gc.collect()
    before = alive()
    gc.disable()
    try:
        for number in range(3):
            end(target, number)
        target.woken.clear()
        target.closed.clear()
        assert alive() == before
    finally:
        gc.enable()


def test_a_limit_that_changes_takes_what_goes_with_it_along():
    buffers = Buffers(800)
    buffers.bound(80)
    assert (buffers.limit, buffers.tight_from) == (80, 70)
