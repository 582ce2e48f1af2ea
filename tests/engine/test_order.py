"""The order of CmdSN when something in it is malformed, aborted or never comes (RFC 7143 4.2.2.1, 11.5, 11.6)."""

from __future__ import annotations

from initiator.pdu import Opcode, encode_lun, make_bhs

from .harness import ManualExecutor, Target, read10, write10


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
