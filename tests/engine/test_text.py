"""Text exchanges of several PDUs: the F bit, and the Target Transfer Tag (RFC 7143 11.10, 11.11)."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, Pdu, make_bhs

from .harness import Target, read10


def ask(wire, text: bytes, ttt: int = NO_TAG, flags: int = 0x80, itt: int = 8) -> Pdu:
    bhs = make_bhs(
        Opcode.TEXT_REQUEST, immediate=True, flags=flags, itt=itt, ttt=ttt, data_length=len(text), cmd_sn=wire.cmd_sn
    )
    wire.feed(bhs + text + bytes(-len(text) & 3))
    (answer,) = wire.receive()
    return answer


def test_a_request_that_is_not_final_gets_no_final_answer():
    """RFC 7143 11.11.1: F 1 in the answer to a request with F 0 is a protocol error."""
    wire = Target().session()
    first = ask(wire, b"X-a=1\0", flags=0)
    assert (first.flags, first.data) == (0, b"X-a=NotUnderstood\0")
    assert first.ttt != NO_TAG
    second = ask(wire, b"X-b=1\0", ttt=first.ttt)
    assert (second.flags, second.ttt, second.data) == (0x80, NO_TAG, b"X-b=NotUnderstood\0")


def test_a_reserved_tag_begins_the_exchange_anew():
    """RFC 7143 11.10.4: the target resets what it knew of the exchange with this Initiator Task Tag."""
    wire = Target().session({"MaxRecvDataSegmentLength": "512"})
    text = b"".join(b"X-%d=y\0" % n for n in range(60))
    assert ask(wire, text).flags == 0x40
    assert ask(wire, b"X-a=1\0").data == b"X-a=NotUnderstood\0"
    assert ask(wire, b"X-b", flags=0x40).data == b""
    assert ask(wire, b"X-c=1\0").data == b"X-c=NotUnderstood\0"


@pytest.mark.parametrize(("itt", "other"), [(8, 1), (9, 0)])
def test_a_tag_that_is_not_that_of_the_exchange_is_rejected(itt, other):
    wire = Target().session()
    first = ask(wire, b"X-a", flags=0x40)
    answer = ask(wire, b"=1\0", ttt=first.ttt + other, itt=itt)
    assert (answer.opcode, answer.reason) == (Opcode.REJECT, 9)
    assert ask(wire, b"=1\0", ttt=first.ttt).data == b"X-a=NotUnderstood\0"


def test_a_request_that_is_final_and_goes_on_is_rejected():
    answer = ask(Target().session(), b"X-a=1\0", flags=0xC0)
    assert (answer.opcode, answer.reason) == (Opcode.REJECT, 9)


LENGTH = b"MaxRecvDataSegmentLength=512\0"


def segments(wire) -> set[int]:
    """The lengths of the Data-Ins of a READ, which must not depend on what else is in the receive buffer."""
    return {pdu.data_length for pdu in wire.command(read10(0, 4), read=2048)}


def test_a_new_segment_length_holds_for_the_commands_right_behind_it():
    wire = Target().session()
    text = make_bhs(Opcode.TEXT_REQUEST, immediate=True, itt=8, ttt=NO_TAG, data_length=len(LENGTH), cmd_sn=wire.cmd_sn)
    first, last = wire.request(read10(0, 4), read=2048), wire.request(read10(0, 4), read=2048)
    wire.feed(first + text + LENGTH + bytes(-len(LENGTH) & 3) + last)
    assert [p.data_length for p in wire.receive()] == [2048, 0, 512, 512, 512, 512]


def test_a_new_segment_length_holds_when_its_exchange_is_complete():
    """RFC 7143 6.4: not in the middle of it, and not at all when it is given up."""
    wire = Target().session()
    first = ask(wire, LENGTH, flags=0)
    assert segments(wire) == {2048}
    assert ask(wire, b"X-a=1\0").data == b"X-a=NotUnderstood\0"  # a new exchange
    assert segments(wire) == {2048}
    first = ask(wire, LENGTH, flags=0)
    assert ask(wire, b"", ttt=first.ttt).flags == 0x80
    assert segments(wire) == {512}
