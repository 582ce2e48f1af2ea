"""A discovery session: what it takes, and what it does not (RFC 7143 4.3)."""

from __future__ import annotations

import pytest

from iscsitools.initiator import NO_TAG, Opcode, encode_keys, encode_lun, make_bhs
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.login.policy import TargetNode
from iscsitools.wire.rfc7143 import Flag

from .harness import INITIATOR, IQN, SECOND, Target, Wire, read10


def discovery(target: Target, timers: Timers | None = None, keys: dict[str, str] | None = None) -> Wire:
    wire = target.connect(timers)
    text = encode_keys({"InitiatorName": INITIATOR, "SessionType": "Discovery"} | (keys or {}))
    bhs = make_bhs(
        Opcode.LOGIN_REQUEST, immediate=True, flags=0x87, isid=5, cid=1, cmd_sn=wire.cmd_sn, data_length=len(text)
    )
    wire.feed(wire.seal(bhs, text))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.status_class) == (Opcode.LOGIN_RESPONSE, 0)
    return wire


def targets(wire: Wire) -> bytes:
    text = b"SendTargets=All\0"
    bhs = make_bhs(Opcode.TEXT_REQUEST, itt=7, ttt=NO_TAG, cmd_sn=wire.cmd_sn, data_length=len(text))
    wire.cmd_sn += 1
    wire.feed(wire.seal(bhs, text))
    (answer,) = wire.receive()
    assert answer.opcode == Opcode.TEXT_RESPONSE
    return answer.data


REFUSED = {
    "SCSI Command": make_bhs(Opcode.SCSI_COMMAND, flags=0xC1, itt=9, edtl=512, cdb=read10(0, 1), cmd_sn=1),
    "TMF": make_bhs(Opcode.TASK_REQUEST, flags=0x85, itt=9, lun=encode_lun(0), cmd_sn=1),
    "NOP-Out": make_bhs(Opcode.NOP_OUT, itt=9, ttt=NO_TAG, cmd_sn=1),
    "logout of the connection": make_bhs(Opcode.LOGOUT_REQUEST, flags=0x81, itt=9, cid=1, cmd_sn=1),
    "logout for recovery": make_bhs(Opcode.LOGOUT_REQUEST, flags=0x82, itt=9, cid=1, cmd_sn=1),
}


@pytest.mark.parametrize("immediate", [False, True], ids=["in order", "immediate"])
@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_other_requests_are_rejected_and_the_session_goes_on(request_, immediate):
    wire = discovery(Target())
    wire.feed(bytes([request_[0] | (0x40 if immediate else 0)]) + request_[1:])
    (answer,) = wire.receive()
    assert (answer.opcode, answer.reason, answer.data[1:]) == (Opcode.REJECT, 5, request_[1:])
    wire.cmd_sn += not immediate
    assert targets(wire).startswith(f"TargetName={IQN}\0".encode())


def test_it_ends_with_a_logout_that_closes_the_session():
    target = Target()
    wire = discovery(target)
    wire.feed(make_bhs(Opcode.LOGOUT_REQUEST, flags=0x80, itt=9, cmd_sn=1))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.response) == (Opcode.LOGOUT_RESPONSE, 0)
    wire.conn.closed()
    assert len(target.table) == 0


def test_the_answer_to_a_ping_is_no_request():
    target = Target()
    wire = discovery(target, Timers(0, SECOND, SECOND))
    target.now += SECOND
    wire.conn.on_time(target.now)
    (ping,) = wire.receive()
    target.now += 1
    wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True, itt=NO_TAG, ttt=ping.ttt, cmd_sn=1))
    assert wire.receive() == []
    assert wire.conn.deadline == target.now + SECOND


@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_continued_exchange_goes_on_where_it_was_when_targets_change(change):
    """One exchange tells of the targets of one moment; the next one of those that there are then."""
    target = Target()
    names = [f"iqn.2026-11.example:t{number:02}" for number in range(40)]
    for name in names:
        target.directory.add(TargetNode(name, target.device))
    wire = discovery(target, keys={"MaxRecvDataSegmentLength": "512"})
    text = b"SendTargets=All\0"
    answers = []
    ttt = NO_TAG
    while not answers or answers[-1].flags & Flag.CONTINUE:
        wire.feed(
            make_bhs(Opcode.TEXT_REQUEST, flags=0x80, itt=7, ttt=ttt, cmd_sn=wire.cmd_sn, data_length=len(text)) + text
        )
        wire.cmd_sn += 1
        text = b""
        (answer,) = wire.receive()
        answers.append(answer)
        ttt = answer.ttt
        if len(answers) == 2:
            if change == "added":
                target.directory.add(TargetNode("iqn.2026-11.example:new", target.device))
            else:
                target.directory.remove(names[0])
                target.directory.remove(names[-1])
            other = discovery(target)  # asks meanwhile, and so renews the answer that is kept
            told = {"added": [*names, "iqn.2026-11.example:new"], "removed": names[1:-1]}[change]
            assert told_names(targets(other)) == [IQN, *told]
    assert len(answers) > 3
    assert all(len(answer.data) == 512 and not answer.flags & Flag.FINAL for answer in answers[:-1])
    assert answers[-1].flags & Flag.FINAL
    assert told_names(b"".join(answer.data for answer in answers)) == [IQN, *names]


def told_names(answer: bytes) -> list[str]:
    return [pair[11:] for pair in answer.decode().split("\0") if pair.startswith("TargetName=")]
