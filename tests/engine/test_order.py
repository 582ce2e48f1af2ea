"""The order of CmdSN when something in it is malformed, aborted or never comes (RFC 7143 4.2.2.1, 11.5, 11.6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iscsitools.initiator import Opcode, encode_lun, make_bhs

from .harness import ManualExecutor, SlowDisk, Target, abort, read10, write10


def test_a_rejected_request_does_not_keep_those_that_waited_for_it():
    wire = Target().session()
    bad = wire.request(bytes(6), itt=0xFFFFFFFF)
    bad = bad[:32] + b"\x1f" + bad[33:]
    good = wire.request(bytes(6))
    wire.feed(good + bad)
    assert [p.opcode for p in wire.receive()] == [Opcode.REJECT, Opcode.SCSI_RESPONSE]
    assert wire.command(bytes(6))[0].status == 0


@pytest.mark.parametrize("length", [512, 65536])
def test_the_reserved_task_tag_is_rejected_however_a_command_is_served(length):
    """RFC 7143 11.2.1.8."""
    wire = Target().session({"FirstBurstLength": "65536"})
    work = (wire.request(read10(0, 1), read=512), wire.request(write10(0, length // 512), write=bytes(length)))
    wire.feed(b"".join(bhs[:16] + b"\xff" * 4 + bhs[20:] for bhs in work))
    assert [p.opcode for p in wire.receive()] == [Opcode.REJECT] * 2
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
    assert answer.exp_cmd_sn == lost_sn + 1
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


@pytest.mark.parametrize("opcode", [Opcode.LOGOUT_REQUEST, Opcode.TASK_REQUEST], ids=["logout", "cold reset"])
def test_nothing_that_waited_behind_the_end_of_the_session_is_served(opcode):
    target = Target()
    wire = target.session()
    first = wire.request(bytes(6))
    end = make_bhs(opcode, flags=0x87 if opcode == Opcode.TASK_REQUEST else 0x80, itt=99, cmd_sn=wire.cmd_sn)
    wire.cmd_sn += 1
    wire.feed(wire.request(write10(0, 1), write=b"w" * 512) + end + first)
    assert [p.itt for p in wire.receive()] == [wire.itt - 1, 99]
    wire.conn.closed()
    assert target.buffers.reserved == 0
    assert target.session().command(read10(0, 1), read=512)[0].data == bytes(512)


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


class InterruptedDisk(SlowDisk):
    """Calls ``interrupt`` in the middle of its first write; what comes later it takes at once."""

    interrupt: Callable[[], None] | None = None

    def write(self, offset: int, buffer: memoryview) -> None:
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()
        super().write(offset, buffer)

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        if self.interrupt is None:
            super().write(offset, buffer)
        return self.interrupt is None


class Later:
    """Keeps calls until the test runs them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], None], Callable[[BaseException | None], None]]] = []

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Callable[[], bool]:
        self.calls.append((work, done))
        return lambda: False

    def resume(self, step: Callable[[], None]) -> None:
        self.calls.append((step, lambda error: None))

    def run_one(self) -> None:
        work, done = self.calls.pop(0)
        work()
        done(None)


@pytest.mark.parametrize("function", [1, 5])
def test_a_write_that_was_aborted_while_it_ran_does_not_replace_a_later_one(function):
    executor = Later()
    target = Target(executor=executor, slow=True)
    wire = target.session()
    answered = []

    def abort_and_go_on() -> None:
        wire.feed(make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x80 | function, itt=99, rtt=itt))
        if function == 5:
            answered.extend(wire.command(bytes(6)))
        else:
            wire.feed(wire.data_out(r2t.itt, b"e" * 512, 0, ttt=r2t.ttt))
        wire.feed(wire.request(write10(0, 1), write=b"b" * 512))
        wire.feed(wire.request(read10(0, 1), read=512) + wire.request(bytes(6)))
        answered.extend(wire.receive())

    target.store.__class__ = InterruptedDisk
    target.store.interrupt = abort_and_go_on
    early = wire.request(write10(1, 1), edtl=512, writes=1)
    wire.feed(early)
    (r2t,) = wire.receive()
    wire.feed(wire.request(write10(0, 1), write=b"a" * 512))
    itt = wire.itt
    executor.run_one()
    opcodes = [p.opcode for p in answered]
    # The reset's unit attention, or the write of another block; then TEST UNIT READY, which uses no blocks.
    assert opcodes == [Opcode.TASK_RESPONSE, Opcode.SCSI_RESPONSE, Opcode.SCSI_RESPONSE]
    assert answered[-1].itt == wire.itt
    while executor.calls:
        executor.run_one()
    answers = {p.itt: p for p in wire.receive()}
    assert itt not in answers
    assert answers[wire.itt - 2].status == 0
    assert wire.target.unit.tasks.barriers == 0
    wire.feed(wire.request(read10(0, 1), read=512))
    while executor.calls:
        executor.run_one()
    assert wire.receive()[-1].data == b"b" * 512
    assert target.buffers.reserved == 0


@pytest.mark.parametrize("attribute", [5, 6, 7])
def test_a_reserved_task_attribute_is_rejected(attribute: int) -> None:
    """RFC 7143 11.3.1; nothing is done, and the connection goes on."""
    target = Target()
    wire = target.session()
    wire.feed(wire.request(write10(0, 1), write=b"w" * 512, flags=0xA0 | attribute))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.reason) == (Opcode.REJECT, 0x09)
    assert wire.command(read10(0, 1), read=512)[0].data == bytes(512)
    assert target.buffers.reserved == 0


def test_a_nop_out_that_wants_no_answer_has_to_be_immediate() -> None:
    """RFC 7143 11.18.1: its CmdSN could not be acknowledged; ExpCmdSN stays."""
    wire = Target().session()
    assert wire.conn.session is not None
    before = wire.conn.session.exp_cmdsn
    wire.feed(make_bhs(Opcode.NOP_OUT, flags=0x80, itt=0xFFFFFFFF, ttt=0xFFFFFFFF, cmd_sn=wire.cmd_sn))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.reason, answer.exp_cmd_sn) == (Opcode.REJECT, 0x04, before)
    assert wire.command(bytes(6))[0].status == 0
    wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True, flags=0x80, itt=0xFFFFFFFF, ttt=0xFFFFFFFF, cmd_sn=wire.cmd_sn))
    assert wire.receive() == []


def test_the_last_number_of_the_window_is_kept_and_the_next_one_is_not() -> None:
    """RFC 7143 4.2.2.1: MaxCmdSN is taken and waits for its turn; MaxCmdSN + 1 is ignored, and never runs."""
    wire = Target(window=8).session()
    assert wire.conn.session is not None
    first = wire.request(bytes(6))
    last = (wire.cmd_sn - 1) + wire.conn.session.window - 1
    assert last == wire.conn.path.max_cmdsn
    wire.cmd_sn = last
    kept = wire.request(write10(0, 1), write=b"k" * 512)
    beyond = wire.request(write10(1, 1), write=b"b" * 512)
    wire.feed(beyond + kept)
    assert wire.receive() == []
    wire.feed(first)
    assert [p.itt for p in wire.receive()] == [1 + 1]
    for number in range(last - 6, last):
        wire.cmd_sn = number
        wire.feed(wire.request(bytes(6)))
    assert wire.receive()[-1].itt == 3  # the kept one, when all before it have come
    content = bytearray(1024)
    wire.target.store.read_into(0, memoryview(content))
    assert bytes(content) == b"k" * 512 + bytes(512)
    assert wire.conn.path.exp_cmdsn == (last + 1) & 0xFFFFFFFF
