"""Long data segments, the rest of which turns of the data path in C receive where it belongs."""

from __future__ import annotations

import random

import pytest
from engine import harness
from engine.harness import SECOND, Target, Wire, abort, read10, write10
from engine.turning import TurningWire
from support.native import needs_data_path

from iscsitools.initiator import Opcode, Pdu

WORDS = b"segments"
BLOCKS = 128
LENGTH = 512 * BLOCKS


@pytest.fixture(autouse=True)
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "data_path", needs_data_path())
    monkeypatch.setattr(harness, "wire", TurningWire)


@pytest.fixture
def data() -> bytes:
    return random.Random(1).randbytes(LENGTH)


def write(wire: Wire, data: bytes, lba: int = 0) -> bytes:
    return wire.request(write10(lba, len(data) // 512), write=data)


def written(wire: Wire, length: int, lba: int = 0) -> bytes:
    return b"".join(pdu.data for pdu in wire.command(read10(lba, length // 512), read=length))


def statuses(answers: list[Pdu]) -> list[int]:
    return [pdu.status for pdu in answers if pdu.opcode == Opcode.SCSI_RESPONSE]


def begun(wire: Wire, pdu: bytes, count: int = 20000) -> bytes:
    """Send the beginning of a PDU, which turns have taken; returns the rest."""
    before = wire.conn.taken
    wire.feed(pdu[:count])
    assert wire.conn.path.segment_by == wire.target.now + 30 * SECOND + LENGTH * SECOND // 8192
    assert not wire.conn.in_place
    assert wire.conn.taken == before
    return pdu[count:]


@pytest.mark.parametrize("piece", [1000, 8192, 50000, 65536])
def test_writes_are_answered_by_turns_alone(data: bytes, piece: int) -> None:
    wire = Target().session()
    wire.command(bytes(6))
    before, lines = wire.conn.taken, [write(wire, data[at:] + data[:at], at // 4) for at in (0, 512, 5120, 4096)]
    wire.feed(b"".join(lines) + wire.request(read10(0, 8), read=4096), piece)
    *answers, last = wire.receive()
    assert statuses(answers) == [0] * 4
    assert last.data == data[:4096]
    assert wire.conn.taken == before
    assert (wire.conn.memory.held, wire.conn.path.segment_by) == (0, 0)
    assert written(wire, LENGTH, 1280) == data[5120:] + data[:5120]


@pytest.mark.parametrize("piece", [1000, 65536])
def test_data_out_and_more_that_is_asked_for(data: bytes, piece: int) -> None:
    wire = Target().session({"FirstBurstLength": "65536", "MaxBurstLength": "65536", "MaxOutstandingR2T": "1"})
    wire.command(bytes(6))
    before, whole = wire.conn.taken, data * 3
    wire.feed(wire.request(write10(0, 3 * BLOCKS), write=whole[:LENGTH], edtl=len(whole)), piece)
    itt, offset = wire.itt, LENGTH
    while offset < len(whole):
        (r2t,) = wire.receive()
        assert (r2t.itt, r2t.buffer_offset) == (itt, offset)
        offset += r2t.desired_length
        wire.feed(wire.data_out(itt, whole[r2t.buffer_offset : offset], r2t.buffer_offset, ttt=r2t.ttt), piece)
    assert statuses(wire.receive()) == [0]
    assert wire.conn.taken == before
    assert wire.conn.memory.held == 0
    assert written(wire, len(whole)) == whole


def test_its_memory_is_held(data: bytes) -> None:
    target = Target()
    wire = target.session()
    wire.command(bytes(6))
    rest = begun(wire, write(wire, data))
    assert wire.conn.memory.held == target.buffers.reserved == LENGTH
    wire.feed(rest)
    assert statuses(wire.receive()) == [0]
    assert target.buffers.reserved == 0


def test_without_memory_it_is_thrown_away(data: bytes) -> None:
    wire = Target(memory=LENGTH).session()
    wire.command(bytes(6))
    pdu = write(wire, data * 2)
    wire.feed(pdu[:20000])
    assert wire.conn.path.segment_by == 0
    wire.feed(pdu[20000:])
    assert statuses(wire.receive()) == [8]  # BUSY
    assert written(wire, LENGTH) == bytes(LENGTH)


def test_what_is_not_ready_when_it_is_there_is_a_task(data: bytes) -> None:
    target = Target()
    wire = target.session()
    wire.command(bytes(6))
    rest = begun(wire, write(wire, data))
    target.unit.software_write_protect = True
    target.unit.refresh()
    wire.feed(rest + write(wire, data, 512))
    assert statuses(wire.receive()) == [2, 2]  # DATA PROTECT
    assert wire.conn.memory.held == 0
    assert written(wire, LENGTH) == bytes(LENGTH)


def test_memory_gets_tight_meanwhile(data: bytes) -> None:
    target = Target()
    wire = target.session()
    wire.command(bytes(6))
    rest = begun(wire, write(wire, data))
    target.buffers.reserved += target.buffers.limit
    wire.feed(rest)
    target.buffers.reserved -= target.buffers.limit
    assert statuses(wire.receive()) == [0]  # what it needs is held already
    assert wire.conn.memory.held == 0
    assert written(wire, LENGTH) == data


def test_it_does_not_come(data: bytes) -> None:
    target = Target()
    wire = target.session()
    wire.command(bytes(6))
    begun(wire, write(wire, data))
    assert wire.conn.deadline == wire.conn.path.segment_by
    target.now = wire.conn.deadline
    wire.conn.on_time(target.now)
    assert wire.conn.close_reason == "a data segment that does not come"
    wire.conn.closed()
    assert (wire.conn.memory.held, target.buffers.reserved, wire.conn.path.segment_by) == (0, 0, 0)


@pytest.mark.parametrize("solicited", [False, True])
def test_its_connection_ends(data: bytes, solicited: bool) -> None:
    target = Target()
    wire = target.session({"ImmediateData": "No"} if solicited else {})
    wire.command(bytes(6))
    begun(wire, asked(wire, data) if solicited else write(wire, data))
    wire.conn.closed()
    assert (wire.conn.memory.held, target.buffers.reserved, target.unit.in_flight) == (0, 0, 0)


def asked(wire: Wire, data: bytes) -> bytes:
    """The Data-Out that a WRITE without data was answered for."""
    wire.feed(wire.request(write10(0, BLOCKS), edtl=LENGTH, writes=1))
    (r2t,) = wire.receive()
    return wire.data_out(r2t.itt, data, 0, ttt=r2t.ttt)


def test_reset_while_it_is_received(data: bytes) -> None:
    target = Target()
    one, other = target.session({"ImmediateData": "No"}), target.session({"ImmediateData": "No"}, isid=1)
    one.command(bytes(6))
    rest = begun(one, asked(one, data))
    other.feed(abort(0, 0, other.cmd_sn)[:1] + b"\x85" + abort(0, 0, other.cmd_sn)[2:])  # LOGICAL UNIT RESET
    assert [pdu.response for pdu in other.receive()] == [0]
    spare = target.buffers.take(LENGTH)  # what arrives still must not be in anybody else's buffer
    one.feed(rest)
    assert (one.receive(), spare.count(data[30000:30100])) == ([], 0)
    assert (one.conn.memory.held, target.unit.in_flight) == (0, 0)


def test_data_out_that_is_not_as_it_should_be_is_none(data: bytes) -> None:
    wire = Target().session({"ImmediateData": "No"})
    wire.command(bytes(6))
    pdu = asked(wire, data)
    wire.feed(pdu[:40] + (512).to_bytes(4, "big") + pdu[44:20000])
    assert wire.conn.path.segment_by == 0
    wire.feed(pdu[20000:])
    assert statuses(wire.receive()) == [2]
