"""Commands that came before their turn, and what belongs to them (RFC 7143 4.2.2.1, 4.2.3.3, 4.2.4.2)."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, encode_lun, make_bhs
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit

from .harness import IQN, Target, abort, read10, write10


@pytest.mark.parametrize("slow", [False, True])
def test_unsolicited_data_of_a_command_before_its_turn_is_kept_with_it(slow):
    target = Target(slow=slow)
    wire = target.session()
    first = wire.request(bytes(6))
    later = wire.request(write10(0, 24), write=b"0" * 512, edtl=12288, flags=0x21)
    wire.feed(later + wire.data_out(wire.itt, b"1" * 1536, 512, final=False))
    wire.feed(wire.data_out(wire.itt, b"2" * 10240, 2048, sn=1), 3000)
    wire.feed(wire.data_out(wire.itt + 7, b"x" * 512, 0))  # of nobody
    assert wire.receive() == []
    wire.feed(first)
    assert [(p.itt, p.status) for p in wire.receive()] == [(wire.itt - 1, 0), (wire.itt, 0)]
    assert target.buffers.reserved == 0
    assert wire.command(read10(0, 24), read=12288)[0].data == b"0" * 512 + b"1" * 1536 + b"2" * 10240


def test_an_abort_throws_the_kept_data_away():
    target = Target()
    wire = target.session()
    first, number = wire.request(bytes(6)), wire.cmd_sn
    wire.feed(wire.request(write10(0, 2), edtl=1024, flags=0x21) + wire.data_out(wire.itt, b"1" * 1024, 0))
    assert target.buffers.reserved > 1024
    wire.feed(abort(wire.itt, number, wire.cmd_sn) + first)
    assert [p.opcode for p in wire.receive()] == [Opcode.TASK_RESPONSE, Opcode.SCSI_RESPONSE]
    assert target.buffers.reserved == 0
    assert wire.command(read10(0, 2), read=1024)[0].data == bytes(1024)


@pytest.mark.parametrize("length", [0, 512])
def test_data_without_end_for_a_command_before_its_turn_ends_the_connection(length):
    target = Target(memory=1 << 20)
    wire = target.session()
    wire.request(bytes(6))
    wire.feed(wire.request(write10(0, 2), edtl=1024, flags=0x21))
    data = wire.data_out(wire.itt, bytes(length), 0, final=False)
    for _ in range(4096):
        wire.feed(data)
    assert "without end" in wire.conn.close_reason
    assert target.buffers.reserved <= target.memory
    wire.conn.closed()
    assert target.buffers.reserved == 0


@pytest.mark.parametrize(("function", "lun", "ended"), [(2, 0, 2), (4, 0, 2), (5, 0, 2), (5, 1, 0), (6, 0, 3)])
def test_functions_for_several_tasks_end_those_that_wait_for_their_turn(function, lun, ended):
    """Immediate, between two commands of LUN 0, one of LUN 7 and a ping before it, and one command behind it."""
    target = Target()
    target.device.add_unit(LogicalUnit(1, target.store, target.executor, UnitOptions(target=IQN), DISK))
    wire = target.session()
    wire.command(bytes(6))  # the unit attention of the new unit
    first = wire.request(bytes(6))
    held = wire.request(write10(0, 1), write=b"1" * 512) + wire.request(bytes(6), lun=encode_lun(7))
    held += wire.request(write10(1, 1), edtl=512, flags=0x21) + wire.data_out(wire.itt, b"2" * 512, 0)
    ping = make_bhs(Opcode.NOP_OUT, itt=77, ttt=NO_TAG, cmd_sn=wire.cmd_sn)
    wire.cmd_sn += 1
    number = wire.cmd_sn
    wire.feed(held + ping + wire.request(bytes(6)))
    tmf = make_bhs(
        Opcode.TASK_REQUEST, immediate=True, flags=0x80 | function, itt=99, lun=encode_lun(lun), cmd_sn=number
    )
    wire.feed(tmf)
    assert [(p.opcode, p.response) for p in wire.receive()] == [(Opcode.TASK_RESPONSE, 0)]
    wire.feed(first)
    answers = wire.receive()
    assert len(answers) == 6 - ended
    assert [p.itt for p in answers][-2:] == [77, wire.itt]
    assert target.buffers.reserved == 0
    written = bytearray(1024)
    target.store.read_into(0, memoryview(written))
    assert bytes(written) == (bytes(1024) if ended else b"1" * 512 + b"2" * 512)
