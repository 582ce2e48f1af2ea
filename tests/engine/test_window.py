"""The edges of the command window (RFC 7143 4.2.2.1), and that the data path leaves what is held its turn."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, make_bhs

from .harness import Target, abort, read10, write10

WINDOW = 4


def test_the_last_of_the_window_is_held_and_the_one_behind_it_is_ignored():
    target = Target(window=WINDOW)
    wire = target.session()
    missing = wire.request(bytes(6))
    inside = [wire.request(bytes(6)) for _ in range(WINDOW - 1)]
    last, beyond = wire.itt, wire.request(bytes(6))
    wire.feed(beyond)
    wire.feed(b"".join(inside))
    assert wire.receive() == []
    wire.feed(missing)
    answers = wire.receive()
    assert [p.itt for p in answers] == list(range(last - WINDOW + 1, last + 1))
    # MaxCmdSN leaves the window open for exactly as many again: the ignored one was not counted.
    assert answers[-1].exp_cmd_sn == wire.cmd_sn - 1
    assert answers[-1].max_cmd_sn == wire.cmd_sn - 1 + WINDOW - 1
    wire.feed(beyond)
    assert [p.itt for p in wire.receive()] == [wire.itt]


def test_one_before_the_window_is_ignored():
    target = Target(window=WINDOW)
    wire = target.session()
    again = wire.request(bytes(6))
    wire.feed(again)
    assert len(wire.receive()) == 1
    wire.feed(again)
    assert wire.receive() == []


@pytest.mark.parametrize("aborted", [False, True])
def test_what_is_held_has_its_turn_behind_commands_of_the_data_path(aborted):
    """Two are held with a gap between them; what fills the gap is a read that the data path answers itself."""
    wire = Target().session()
    first, number = wire.request(bytes(6)), wire.cmd_sn - 1
    begin = wire.itt
    second, gap, last = (wire.request(read10(0, 1), read=512) for _ in range(3))
    wire.feed(last + (b"" if aborted else second))
    wire.feed(abort(begin, number, wire.cmd_sn) if aborted else first)
    answers = wire.receive()
    assert [p.itt for p in answers] == ([99] if aborted else [begin, begin + 1])
    if aborted:
        wire.feed(second)
        assert [p.itt for p in wire.receive()] == [begin + 1]
    wire.feed(gap)
    assert [p.itt for p in wire.receive()] == [begin + 2, begin + 3]


def test_data_of_nobody_is_not_kept():
    target = Target()
    wire = target.session()
    wire.request(bytes(6))
    wire.feed(wire.request(write10(0, 2), edtl=1024, flags=0x21))
    kept = target.buffers.reserved
    wire.feed(wire.data_out(wire.itt + 7, b"x" * 512, 0))
    assert target.buffers.reserved == kept
    wire.feed(wire.data_out(wire.itt, b"x" * 512, 0, final=False))
    assert target.buffers.reserved > kept


def test_a_reset_ends_held_commands_behind_a_request_of_another_kind():
    wire = Target().session()
    first = wire.request(bytes(6))
    ping = make_bhs(Opcode.NOP_OUT, itt=77, ttt=NO_TAG, cmd_sn=wire.cmd_sn)
    wire.cmd_sn += 1
    wire.feed(ping)
    wire.feed(wire.request(write10(0, 1), write=b"1" * 512))
    reset = make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x85, itt=99, cmd_sn=wire.cmd_sn)
    wire.feed(reset)
    assert [(p.opcode, p.response) for p in wire.receive()] == [(Opcode.TASK_RESPONSE, 0)]
    wire.feed(first)
    assert [p.itt for p in wire.receive()] == [wire.itt - 1, 77]
