"""Data-out in C: what the path takes by itself, and when a command becomes a task after all."""

from __future__ import annotations

import pytest
from engine import harness
from engine.harness import SECOND, Target, Wire, abort, read10, write10
from support.native import needs_data_path

from iscsitools.initiator import Opcode, Pdu

WORDS = b"datapath"


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "data_path", needs_data_path())


def asked(wire: Wire, blocks: int = 8, lba: int = 0) -> Pdu:
    """Begin a WRITE that brings no data; the R2T."""
    wire.feed(wire.request(write10(lba, blocks), edtl=512 * blocks, writes=1))
    (r2t,) = wire.receive()
    assert r2t.opcode == Opcode.R2T
    return r2t


def answer(wire: Wire, r2t: Pdu, data: bytes) -> list[Pdu]:
    wire.feed(wire.data_out(r2t.itt, data, r2t.buffer_offset, ttt=r2t.ttt))
    return wire.receive()


@pytest.mark.parametrize("blocks", [8, 512])
def test_no_task_is_made(blocks: int) -> None:
    wire = Target().session({"ImmediateData": "No", "InitialR2T": "Yes"})
    r2t = asked(wire, blocks)
    path, data = wire.conn.path, WORDS * 64 * blocks
    assert (path.transfers, list(path.pending()), wire.conn.commands) == (1, [(r2t.itt, 0)], {})
    assert wire.target.unit.in_flight == 1
    (response,) = answer(wire, r2t, data)
    assert (response.itt, response.status, response.exp_data_sn) == (r2t.itt, 0, 1)
    assert (path.transfers, path.written_bytes, wire.target.unit.in_flight) == (0, len(data), 0)
    assert wire.conn.memory.held == 0
    assert b"".join(pdu.data for pdu in wire.command(read10(0, blocks), read=len(data))) == data


def test_first_burst_and_two_requests() -> None:
    wire = Target().session({"FirstBurstLength": "1024", "MaxBurstLength": "1024", "MaxOutstandingR2T": "2"})
    data = bytes(range(256)) * 16
    wire.feed(wire.request(write10(3, 8), write=data[:512], edtl=4096, flags=0x21))
    itt = wire.itt
    assert wire.receive() == []
    wire.feed(wire.data_out(itt, data[512:1024], 512))
    first, second = wire.receive()
    assert [(pdu.buffer_offset, pdu.desired_length, pdu.r2t_sn) for pdu in (first, second)] == [
        (1024, 1024, 0),
        (2048, 1024, 1),
    ]
    assert wire.conn.commands == {}
    (third,) = answer(wire, second, data[2048:3072])
    assert (third.buffer_offset, third.r2t_sn) == (3072, 2)
    assert answer(wire, third, data[3072:]) == []
    (response,) = answer(wire, first, data[1024:2048])
    assert (response.status, response.exp_data_sn, wire.conn.commands) == (0, 3, {})
    assert b"".join(pdu.data for pdu in wire.command(read10(3, 8), read=4096)) == data


@pytest.mark.parametrize("what", ["abort", "gone", "time"])
def test_nothing_is_kept_of_what_has_ended(what: str) -> None:
    target = Target()
    wire = target.session({"ImmediateData": "No", "InitialR2T": "Yes"})
    r2t = asked(wire)
    assert wire.conn.memory.held == 4096
    if what == "abort":
        wire.feed(abort(r2t.itt, wire.cmd_sn - 1, wire.cmd_sn))
        assert [(pdu.opcode, pdu.response) for pdu in wire.receive()] == [(Opcode.TASK_RESPONSE, 0)]
    elif what == "gone":
        wire.conn.closed()
    else:
        assert wire.conn.deadline == target.now + 30 * SECOND
        target.now += 30 * SECOND
        wire.conn.on_time(target.now)
        assert [pdu.status for pdu in wire.receive() if pdu.opcode == Opcode.SCSI_RESPONSE] == [2]
    assert (wire.conn.path.transfers, wire.conn.commands, target.buffers.reserved) == (0, {}, 0)
    assert target.unit.in_flight == 0
    if what != "gone":
        assert answer(wire, r2t, WORDS * 512) == []
        assert wire.command(read10(0, 8), read=4096)[0].data == bytes(4096)


def test_reset_by_another() -> None:
    target = Target()
    one, other = target.session({"ImmediateData": "No"}), target.session({"ImmediateData": "No"}, isid=1)
    r2t = asked(one)
    other.feed(abort(0, 0, other.cmd_sn)[:1] + b"\x85" + abort(0, 0, other.cmd_sn)[2:])  # LOGICAL UNIT RESET
    assert [pdu.response for pdu in other.receive()] == [0]
    assert (one.conn.path.transfers, one.conn.commands, one.conn.memory.held) == (0, {}, 0)
    assert answer(one, r2t, WORDS * 512) == []
    assert [pdu.status for pdu in one.command(bytes(6))] == [2]  # the unit attention


def test_reset_while_its_data_is_received_in_place() -> None:
    target = Target()
    one, other = target.session({"ImmediateData": "No"}), target.session({"ImmediateData": "No"}, isid=1)
    r2t = asked(one, 128)
    data_out = one.data_out(r2t.itt, WORDS * 8192, 0, ttt=r2t.ttt)
    one.feed(data_out[:20000])
    assert one.conn.in_place
    other.feed(abort(0, 0, other.cmd_sn)[:1] + b"\x85" + abort(0, 0, other.cmd_sn)[2:])
    spare = target.buffers.take(65536)  # what arrives still must not be in anybody else's buffer
    one.feed(data_out[20000:])
    assert (one.receive(), bytes(spare).count(WORDS)) == ([], 0)
    assert (one.conn.memory.held, target.unit.in_flight) == (0, 0)


def test_what_is_ordered_waits_for_it() -> None:
    wire = Target().session({"ImmediateData": "No"})
    r2t = asked(wire)
    wire.feed(wire.request(read10(0, 8), read=4096, flags=0xC2))
    assert (wire.receive(), len(wire.conn.commands)) == ([], 2)
    response, data = answer(wire, r2t, WORDS * 512)
    assert (response.itt, data.data) == (r2t.itt, WORDS * 512)


def test_a_closed_gate_at_the_end() -> None:
    target = Target()
    wire = target.session({"ImmediateData": "No"})
    r2t = asked(wire)
    target.unit.software_write_protect = True
    target.unit.refresh()
    (response,) = answer(wire, r2t, WORDS * 512)
    assert (response.status, response.data[4] & 0xF) == (2, 7)  # DATA PROTECT
    assert wire.conn.memory.held == 0


def test_wrong_data_out_fails_its_command_alone() -> None:
    wire = Target().session({"ImmediateData": "No"})
    first, second = asked(wire), asked(wire, lba=100)
    wire.feed(wire.data_out(first.itt, WORDS * 512, 0, ttt=first.ttt, sn=1))
    (response,) = wire.receive()
    assert (response.itt, response.status) == (first.itt, 2)
    assert [pdu.status for pdu in answer(wire, second, WORDS * 512)] == [0]


def test_memory_is_the_bound() -> None:
    wire = Target(memory=1 << 20).session({"ImmediateData": "No"})
    wire.feed(b"".join(wire.request(write10(0, 256), edtl=131072, writes=1) for _ in range(8)))
    answers = wire.receive()
    assert {pdu.status for pdu in answers if pdu.opcode == Opcode.SCSI_RESPONSE} == {8}  # BUSY
    assert wire.conn.memory.held == 131072 * sum(pdu.opcode == Opcode.R2T for pdu in answers) <= 1 << 20


def test_the_account_is_asked_seldom_and_says_what_waits() -> None:
    wire = Target().session({"ImmediateData": "No", "InitialR2T": "Yes"})
    conn, asked_for, released = wire.conn, [], []

    def reserve(length: int) -> bool:
        asked_for.append(length)
        return conn.memory.reserve(length)

    def release(length: int) -> None:
        released.append(length)
        conn.memory.release(length)

    conn.path.lend_by(reserve, release, conn.buffers.take, conn.buffers.give)
    wire.feed(b"".join(wire.request(write10(8 * n, 8), edtl=4096, writes=1) for n in range(32)))
    requests = wire.receive()
    assert conn.memory.held == wire.target.buffers.reserved == conn.path.awaited == 32 * 4096
    assert len(asked_for) + len(released) <= 6
    wire.feed(b"".join(wire.data_out(r2t.itt, bytes(4096), 0, ttt=r2t.ttt) for r2t in requests[:31]))
    assert [pdu.status for pdu in wire.receive()] == [0] * 31
    assert conn.memory.held == wire.target.buffers.reserved == 4096
    wire.feed(abort(requests[31].itt, wire.cmd_sn - 1, wire.cmd_sn))
    wire.receive()
    assert (conn.memory.held, wire.target.buffers.reserved, conn.path.transfers) == (0, 0, 0)


def test_what_a_turn_holds_ahead_keeps_nobody_out() -> None:
    """The account has room for 15 of these and no more, and all that has room is taken: half of it for one alone."""
    wire = Target(memory=31 * 4096).session({"ImmediateData": "No", "InitialR2T": "Yes"})
    wire.feed(b"".join(wire.request(write10(8 * n, 8), edtl=4096, writes=1) for n in range(20)))
    answers = wire.receive()
    assert sum(pdu.opcode == Opcode.R2T for pdu in answers) == 15
    assert wire.conn.memory.held == 15 * 4096
