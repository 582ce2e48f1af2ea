"""The order of CmdSN when something in it is malformed, aborted or never comes (RFC 7143 4.2.2.1, 11.5, 11.6)."""

from __future__ import annotations

import pytest
from initiator.pdu import Opcode, encode_lun, make_bhs

from .harness import ManualExecutor, Target, read10, write10


def abort(itt: int, ref_cmdsn: int, cmdsn: int) -> bytes:
    """An immediate ABORT TASK."""
    bhs = bytearray(
        make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x81, itt=99, rtt=itt, lun=encode_lun(0), cmd_sn=cmdsn)
    )
    bhs[32:36] = ref_cmdsn.to_bytes(4, "big")
    return bytes(bhs)


def test_a_rejected_request_does_not_keep_those_that_waited_for_it():
    wire = Target().session()
    bad = wire.request(bytes(6), itt=0xFFFFFFFF)
    bad = bad[:32] + b"\x1f" + bad[33:]
    good = wire.request(bytes(6))
    wire.feed(good + bad)
    assert [p.opcode for p in wire.receive()] == [Opcode.REJECT, Opcode.SCSI_RESPONSE]
    assert wire.command(bytes(6))[0].status == 0


def test_an_abort_of_a_command_that_never_came_closes_the_gap():
    """RFC 7143 11.6.1: a RefCmdSN inside the window counts as received, and the function is complete."""
    wire = Target().session()
    lost_sn = wire.cmd_sn
    wire.request(write10(0, 1), write=b"l" * 512)
    lost = wire.itt
    wire.feed(wire.request(read10(0, 1), read=512))
    assert wire.receive() == []
    wire.feed(abort(lost, lost_sn, wire.cmd_sn))
    answer, data = wire.receive()
    assert (answer.opcode, answer.response) == (Opcode.TASK_RESPONSE, 0)
    assert (data.itt, data.data) == (wire.itt, bytes(512))
    assert wire.command(bytes(6))[0].status == 0


def test_an_abort_of_a_command_before_its_turn_keeps_it_from_running():
    wire = Target().session()
    first = wire.request(bytes(6))
    second_sn = wire.cmd_sn
    second = wire.request(write10(0, 1), write=b"2" * 512)
    aborted = wire.itt
    third = wire.request(read10(0, 1), read=512)
    wire.feed(third + second + abort(aborted, second_sn, wire.cmd_sn))
    assert [(p.opcode, p.response) for p in wire.receive()] == [(Opcode.TASK_RESPONSE, 0)]
    wire.feed(first)
    answers = wire.receive()
    assert [p.itt for p in answers] == [aborted - 1, aborted + 1]
    assert answers[1].data == bytes(512)
    assert wire.target.buffers.reserved == 0


@pytest.mark.parametrize(("ref", "itt"), [(-1, 0), (0, 1), (1, 0), (200, 0)])
def test_an_abort_that_names_no_command_changes_nothing(ref, itt):
    """RefCmdSN before the window, that of another held request, not before the function's own, beyond the window."""
    wire = Target().session()
    right = wire.cmd_sn
    first = wire.request(bytes(6))
    if itt:
        second = wire.request(bytes(6))
        wire.feed(second)
        ref = 1
    wire.feed(abort(5000, right + ref, right + 1 + itt))
    assert [p.response for p in wire.receive()] == [1]
    wire.feed(first)
    assert [p.status for p in wire.receive()] == [0] * (1 + itt)


def test_tasks_that_are_aborted_together_do_not_start_in_each_others_place():
    """An ORDERED write that waits for its data holds others back; a reset ends all, and none of them is run."""
    target = Target()
    wire = target.session()
    wire.feed(wire.request(write10(0, 1), edtl=512, flags=0xA2))
    assert [p.opcode for p in wire.receive()] == [Opcode.R2T]
    wire.feed(wire.request(write10(1, 1), write=b"b" * 512))
    wire.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x85, itt=99, lun=encode_lun(0)))
    assert [p.opcode for p in wire.receive()] == [Opcode.TASK_RESPONSE]
    wire.command(bytes(6))
    assert wire.command(read10(0, 2), read=1024)[0].data == bytes(1024)
    assert target.buffers.reserved == 0


def test_a_write_refused_for_want_of_memory_moved_nothing():
    target = Target(executor=ManualExecutor(), slow=True, memory=1024)
    wire = target.session()
    wire.feed(wire.request(write10(0, 2), edtl=1024, writes=1) + wire.request(write10(4, 2), edtl=1024, writes=1))
    _, answer = wire.receive()
    assert (answer.opcode, answer.status, answer.flags, answer.residual) == (Opcode.SCSI_RESPONSE, 8, 0x82, 1024)
