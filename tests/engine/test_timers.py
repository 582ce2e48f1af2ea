"""Timers: how long a login may take, and signs of life (RFC 7143 11.18, 11.19)."""

from __future__ import annotations

from iscsitools.initiator import NO_TAG, Opcode, make_bhs
from iscsitools.iscsi.connection.timers import Timers

from .harness import SECOND, Target, read10


def test_a_silent_initiator_is_asked_and_given_up():
    target = Target()
    wire = target.connect(Timers(5 * SECOND, 10 * SECOND, 3 * SECOND))
    assert wire.conn.deadline == target.now + 5 * SECOND
    wire.log_in()
    target.now += 10 * SECOND
    assert wire.conn.deadline == target.now
    wire.conn.on_time(target.now)
    (ping,) = wire.receive()
    assert (ping.opcode, ping.itt) == (Opcode.NOP_IN, NO_TAG)
    target.now += SECOND
    wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True, itt=NO_TAG, ttt=ping.ttt, cmd_sn=wire.cmd_sn))
    target.now += 2 * SECOND
    wire.conn.on_time(target.now)
    assert not wire.conn.close_reason
    target.now = wire.conn.deadline
    wire.conn.on_time(target.now)
    assert [p.opcode for p in wire.receive()] == [Opcode.NOP_IN]
    target.now = wire.conn.deadline
    wire.conn.on_time(target.now)
    assert wire.conn.close_reason == "no answer to NOP-In"


def test_an_answer_begins_the_silence_anew_however_long_it_might_have_taken():
    target = Target()
    wire = target.connect(Timers(0, SECOND, 100 * SECOND))
    assert wire.conn.deadline == 0
    wire.log_in()
    for _ in range(3):
        target.now += SECOND
        wire.conn.on_time(target.now)
        (ping,) = wire.receive()
        assert wire.conn.deadline == target.now + 100 * SECOND
        target.now += 1
        wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True, itt=NO_TAG, ttt=ping.ttt, cmd_sn=wire.cmd_sn))
        assert wire.conn.deadline == target.now + SECOND


def test_without_a_time_to_answer_a_silent_initiator_is_asked_once_and_stays():
    target = Target()
    wire = target.connect(Timers(0, SECOND, 0))
    wire.log_in()
    for _ in range(3):
        target.now += SECOND
        wire.conn.on_time(target.now)
    assert [pdu.opcode for pdu in wire.receive()] == [Opcode.NOP_IN]
    assert not wire.conn.close_reason


def test_an_initiator_that_takes_its_output_slowly_lives():
    """The ping waits behind megabytes; while they go out, somebody takes them. When nobody does, it is given up."""
    target = Target(slow=True)
    wire = target.connect(Timers(0, SECOND, 2 * SECOND))
    wire.log_in()
    wire.command(bytes(6))
    wire.feed(wire.request(read10(0, 4096), read=2 << 20))
    assert not wire.conn.stalled
    for _ in range(20):
        target.now += SECOND
        wire.conn.on_time(target.now)
        wire.conn.output()
        wire.conn.sent(65536, target.now)
    assert not wire.conn.close_reason
    for _ in range(4):
        target.now += SECOND
        wire.conn.on_time(target.now)
    assert wire.conn.close_reason == "no answer to NOP-In"


def test_a_login_that_takes_too_long_is_ended():
    target = Target()
    wire = target.connect(Timers(5 * SECOND, 0, 0))
    target.now += 5 * SECOND
    wire.conn.on_time(target.now)
    assert wire.conn.close_reason == "login took too long"
