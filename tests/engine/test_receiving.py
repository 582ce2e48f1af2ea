"""Bytes at the edges of the receive buffer, data segments that are received in their place, and bad digests."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, make_bhs
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE

from .harness import ManualExecutor, Target, Wire, read10, write10

BHS = 48
DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}

LONGEST = 256 << 10
"""What the target declares (MaxRecvDataSegmentLength)."""


def corrupt(pdu: bytes) -> bytes:
    """The PDU with its last byte, one of the data digest, changed."""
    return pdu[:-1] + bytes([pdu[-1] ^ 1])


@pytest.mark.parametrize("pad", range(4))
def test_a_data_segment_that_fills_the_receive_buffer_leaves_room_for_its_digest(pad):
    target = Target()
    wire = target.session({"DataDigest": "CRC32C"})
    length = LONGEST - BHS - pad
    data = (bytes(range(1, 256)) * (LONGEST // 255 + 1))[:length]
    bhs = make_bhs(Opcode.NOP_OUT, immediate=True, itt=7, ttt=NO_TAG, data_length=length, cmd_sn=wire.cmd_sn)
    filler = bytes(RECEIVE_SIZE - LONGEST - BHS - 4)
    before = make_bhs(
        Opcode.NOP_OUT, immediate=True, itt=NO_TAG, ttt=NO_TAG, data_length=len(filler), cmd_sn=wire.cmd_sn
    )
    whole = wire.seal(before, filler) + wire.seal(bhs, data)
    (view,) = wire.conn.get_buffers()
    view[:] = whole[: len(view)]
    wire.conn.received(len(view), target.now)
    assert wire.receive() == []
    for byte in whole[len(view) :]:
        room = wire.conn.get_buffers()[0]
        assert len(room) > 0
        room[0] = byte
        wire.conn.received(1, target.now)
    (answer,) = wire.receive()
    assert (answer.opcode, answer.itt) == (Opcode.NOP_IN, 7)
    assert answer.data == data


def test_a_header_digest_error_does_not_take_the_answers_before_it():
    wire = Target().session(DIGESTS)
    before = wire.conn.session.exp_cmdsn
    request = wire.request(write10(0, 1), write=b"a" * 512)
    wire.feed(request + corrupt(wire.request(read10(0, 1), read=512)))
    assert wire.conn.close_reason == "header digest error"
    assert [(p.opcode, p.itt) for p in wire.receive()] == [(Opcode.SCSI_RESPONSE, wire.itt - 1)]
    assert wire.conn.session.exp_cmdsn == before + 1


def test_buffers_of_requests_that_waited_for_their_turn_do_not_crowd_out_the_others():
    target = Target()
    wire = target.session({"FirstBurstLength": "262144"})
    for _ in range(200):
        first = wire.request(bytes(6))
        wire.feed(wire.request(write10(0, 250), write=bytes(128000)) + first)
        assert [p.status for p in wire.receive()] == [0, 0]
    buffer = target.buffers.take(1 << 20)
    target.buffers.give(buffer)
    assert target.buffers.take(1 << 20) is buffer


def running_write() -> tuple[Target, Wire, ManualExecutor]:
    """A write whose data is all there, and which a thread works on."""
    executor = ManualExecutor()
    target = Target(executor=executor, slow=True)
    wire = target.session({"DataDigest": "CRC32C"})
    wire.feed(wire.request(write10(0, 1), write=b"w" * 512))
    return target, wire, executor


def test_a_stray_data_out_with_a_bad_digest_does_not_touch_a_write_that_runs():
    """The thread uses the write's buffer, which must not serve another write before it returns."""
    target, wire, executor = running_write()
    used = wire.conn.commands[wire.itt].buffer
    wire.feed(corrupt(wire.data_out(wire.itt, b"x" * 512, 0)))
    assert [(p.opcode, p.reason) for p in wire.receive()] == [(Opcode.REJECT, 2)]
    assert target.buffers.take(1) is not used
    executor.run_one()
    assert [(p.opcode, p.status) for p in wire.receive()] == [(Opcode.SCSI_RESPONSE, 0)]
    assert target.buffers.reserved == 0


def test_a_data_out_with_a_bad_digest_ends_the_write_that_waits_for_it():
    target = Target()
    wire = target.session({"DataDigest": "CRC32C"})
    wire.feed(wire.request(write10(0, 1), edtl=512, writes=1))
    (r2t,) = wire.receive()
    wire.feed(corrupt(wire.data_out(wire.itt, b"x" * 512, 0, ttt=r2t.ttt)))
    reject, response = wire.receive()
    assert (reject.opcode, reject.reason) == (Opcode.REJECT, 2)
    assert (response.opcode, response.status) == (Opcode.SCSI_RESPONSE, 2)
    assert (response.data[4] & 0xF, response.data[14], response.data[15]) == (0xB, 0x47, 0x05)
    assert target.buffers.reserved == 0


def test_bytes_on_their_way_to_an_aborted_write_do_not_fall_into_another():
    """Another session's reset ends the write in the middle of a Data-Out that is received in its place."""
    target = Target()
    one, two = target.session(), target.session(isid=0x400001370001)
    one.feed(one.request(write10(0, 64), edtl=32768, writes=1))
    (r2t,) = one.receive()
    late = one.data_out(one.itt, b"1" * 32768, 0, ttt=r2t.ttt)
    one.feed(late[:20000])
    two.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x85, itt=9))
    assert [p.response for p in two.receive()] == [0]
    assert two.command(bytes(6))[0].status == 2  # the reset's unit attention
    two.feed(two.request(write10(0, 64), edtl=32768, writes=1))
    (r2t,) = two.receive()
    data = two.data_out(two.itt, b"2" * 32768, 0, ttt=r2t.ttt)
    two.feed(data[:30000])
    one.feed(late[20000:])
    assert one.receive() == []
    two.feed(data[30000:])
    assert [p.status for p in two.receive()] == [0]
    assert two.command(read10(0, 64), read=32768)[0].data == b"2" * 32768
    assert target.buffers.reserved == 0
