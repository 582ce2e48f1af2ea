"""The window, NOP, text, task management, logout, reinstatement."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, encode_lun, make_bhs
from iscsitools.iscsi.requests.nop_logout import async_message
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.wire.rfc7143 import AsyncEvent

from .harness import ManualExecutor, Target, read10, write10


def test_commands_are_served_in_the_order_of_cmdsn():
    wire = Target().session()
    first = wire.request(write10(0, 1), write=b"1" * 512)
    second = wire.request(write10(0, 1), write=b"2" * 512)
    third = wire.request(read10(0, 1), read=512)
    wire.feed(third + second)
    assert wire.receive() == []
    wire.feed(first)
    answers = wire.receive()
    assert [p.itt for p in answers] == [2, 3, 4]
    assert answers[-1].data == b"2" * 512
    assert wire.target.buffers.reserved == 0


@pytest.mark.parametrize("ahead", [-1, 128, 1 << 31])
def test_a_cmdsn_outside_the_window_is_ignored(ahead):
    wire = Target().session()
    right = wire.cmd_sn
    wire.feed(wire.request(bytes(6), cmd_sn=(right + ahead) & 0xFFFFFFFF))
    assert wire.receive() == []
    wire.cmd_sn = right
    assert wire.command(bytes(6))[0].status == 0


def test_the_window_goes_round_the_end_of_the_numbers():
    target = Target()
    wire = target.connect()
    wire.cmd_sn = 0xFFFFFFFE
    wire.log_in()
    answers = [wire.command(bytes(6))[0] for _ in range(5)]
    assert [p.exp_cmd_sn for p in answers] == [0xFFFFFFFF, 0, 1, 2, 3]
    assert answers[-1].max_cmd_sn == 130


def test_immediate_commands_do_not_move_the_window():
    wire = Target().session()
    before = wire.cmd_sn
    bhs = bytearray(wire.request(bytes(6)))
    bhs[0] |= 0x40
    wire.cmd_sn = before
    wire.feed(bytes(bhs))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.exp_cmd_sn) == (Opcode.SCSI_RESPONSE, before)


def test_nop_out_comes_back_with_its_data():
    wire = Target().session()
    ping = b"are you there?"
    bhs = make_bhs(Opcode.NOP_OUT, immediate=True, itt=77, ttt=NO_TAG, data_length=len(ping), cmd_sn=wire.cmd_sn)
    wire.feed(bhs + ping + bytes(2))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.itt, answer.ttt, answer.data) == (Opcode.NOP_IN, 77, NO_TAG, ping)


def test_abort_of_a_running_call_is_answered_and_its_late_result_thrown_away():
    executor = ManualExecutor()
    target = Target(executor=executor, slow=True)
    wire = target.session()
    wire.feed(wire.request(write10(0, 1), write=b"z" * 512))
    itt = wire.itt
    wire.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x81, itt=99, rtt=itt, lun=encode_lun(0)))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.itt, answer.response) == (Opcode.TASK_RESPONSE, 99, 0)
    assert target.buffers.reserved == 512  # the thread still reads the buffer
    executor.run_one()
    assert wire.receive() == []
    assert target.buffers.reserved == 0


def test_abort_of_a_task_that_is_not_there():
    wire = Target().session()
    wire.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x81, itt=99, rtt=1234))
    assert [p.response for p in wire.receive()] == [1]


def test_a_reset_of_one_session_ends_the_tasks_of_another():
    executor = ManualExecutor()
    target = Target(executor=executor, slow=True)
    one = target.session()
    two = target.session(isid=0x400001370001)
    one.feed(one.request(read10(0, 1), read=512) + one.request(write10(0, 1), edtl=512, writes=1))
    assert [p.opcode for p in one.receive()] == [Opcode.R2T]
    two.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x85, itt=9, lun=encode_lun(0)))
    assert [p.response for p in two.receive()] == [0]
    assert not one.conn.commands
    executor.run_one()
    assert one.receive() == []
    assert target.buffers.reserved == 0
    (answer,) = one.command(bytes(6))
    assert (answer.data[4], answer.data[14]) == (6, 0x29)


def test_logout_ends_session_and_connection():
    target = Target()
    wire = target.session()
    wire.feed(make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x80, itt=5, cmd_sn=wire.cmd_sn))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.response) == (Opcode.LOGOUT_RESPONSE, 0)
    assert wire.conn.close_reason == "logged out"
    wire.conn.closed()
    assert len(target.table) == 0
    assert len(target.closed) == 1


@pytest.mark.parametrize(("reason", "cid", "response"), [(1, 9, 1), (2, 1, 2)])
def test_logouts_that_cannot_be_done(reason, cid, response):
    wire = Target().session()
    wire.feed(make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x80 | reason, itt=5, cid=cid))
    assert [p.response for p in wire.receive()] == [response]
    assert wire.command(bytes(6))[0].status == 0


def test_session_reinstatement_ends_the_old_session():
    target = Target()
    old = target.session()
    new = target.session()
    assert old.conn.close_reason == "session reinstated"
    assert len(target.table) == 1
    old.conn.closed()
    assert new.command(read10(0, 1), read=512)[0].status == 0


def test_connection_reinstatement_keeps_the_session():
    target = Target()
    old = target.session()
    session = old.conn.session
    new = target.connect()
    new.cmd_sn = old.cmd_sn
    answer = new.log_in(tsih=session.tsih)
    assert (answer.status_class, answer.tsih) == (0, session.tsih)
    assert old.conn.close_reason == "connection reinstated"
    old.conn.closed()
    assert new.command(read10(0, 1), read=512)[0].status == 0  # no unit attention: the nexus is the same


@pytest.mark.parametrize(("cid", "status"), [(2, (2, 6)), (1, (2, 10))])
def test_joining_a_session_that_cannot_be_joined(cid, status):
    target = Target()
    old = target.session()
    answer = target.connect().log_in(tsih=old.conn.session.tsih + (0 if cid == 2 else 1), cid=cid)
    assert (answer.status_class, answer.status_detail) == status


def test_text_answers_longer_than_a_segment_come_in_pieces():
    wire = Target().session({"MaxRecvDataSegmentLength": "512"})
    text = b"".join(b"X-%d=y\0" % n for n in range(60))
    half = len(text) // 2
    fields = {"itt": 8, "cmd_sn": wire.cmd_sn}
    first, last = text[:half], text[half:]
    wire.feed(make_bhs(Opcode.TEXT_REQUEST, immediate=True, flags=0x40, ttt=NO_TAG, data_length=half, **fields))
    wire.feed(first + bytes(-half & 3))
    (answer,) = wire.receive()
    assert (answer.flags, answer.data) == (0, b"")
    ttt = answer.ttt
    wire.feed(make_bhs(Opcode.TEXT_REQUEST, immediate=True, flags=0x80, ttt=ttt, data_length=len(last), **fields))
    wire.feed(last + bytes(-len(last) & 3))
    received = b""
    while True:
        (answer,) = wire.receive()
        received += answer.data
        if answer.final:
            break
        assert (answer.flags, answer.data_length) == (0x40, 512)
        wire.feed(make_bhs(Opcode.TEXT_REQUEST, immediate=True, flags=0x80, ttt=answer.ttt, **fields))
    assert answer.ttt == NO_TAG
    assert received == b"".join(b"X-%d=NotUnderstood\0" % n for n in range(60))


def test_an_asynchronous_message_asks_for_a_logout():
    wire = Target().session()
    async_message(wire.conn, AsyncEvent.LOGOUT_REQUEST, (0, 0, 2))
    (message,) = wire.receive()
    assert (message.opcode, message.event, message.parameter3) == (Opcode.ASYNC_MESSAGE, 1, 2)


def test_a_cold_reset_answers_and_ends_all_sessions():
    target = Target()
    one, two = target.session(), target.session(isid=0x400001370001)
    one.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x87, itt=9))
    assert [p.response for p in one.receive()] == [0]
    assert (one.conn.close_reason, two.conn.close_reason) == ("target cold reset",) * 2


def test_a_session_that_is_reinstated_gives_its_unsent_output_up():
    target = Target(slow=True)
    old = target.session()
    for lba in range(0, 4096, 512):
        old.feed(old.request(read10(lba, 512), read=262144))
    assert target.buffers.reserved == 8 * 262144
    again = target.connect()
    assert again.log_in().status_class == 0
    assert (old.conn.close_reason, old.conn.out.unsent(), target.buffers.reserved) == ("session reinstated", 0, 0)
    assert len(target.closed) == len(target.table) == 1


def test_a_full_table_still_takes_who_replaces_a_session():
    target = Target()
    target.table = SessionTable(2)
    target.login.table = target.table
    target.session()
    other = target.connect()
    other.log_in({"InitiatorName": "iqn.2026-11.example:other"})
    refused = target.connect().log_in({"InitiatorName": "iqn.2026-11.example:third"})
    assert (refused.status_class, refused.status_detail) == (3, 2)
    refused = target.connect().log_in(isid=0x400001370001)
    assert (refused.status_class, refused.status_detail) == (3, 2)
    again = target.connect().log_in()
    assert (again.status_class, again.tsih) == (0, 3)
    assert len(target.table) == 2


def test_a_name_that_is_none_is_not_shown():
    target = Target()
    wire = target.connect()
    answer = wire.log_in({"InitiatorName": "iqn.x\x1b[2J"})
    assert (answer.status_class, wire.conn.info.initiator) == (2, "")
    assert wire.conn.close_reason == "login failed: InitiatorName=iqn.x\\x1b[2j is no iSCSI name"
