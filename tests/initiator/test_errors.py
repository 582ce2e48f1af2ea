"""A target that does what RFC 7143 forbids: each time one line, never another exception."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from iscsitools.initiator import (
    CommandError,
    ConnectionClosedError,
    InitiatorError,
    LoginError,
    Opcode,
    ProtocolError,
    Session,
    discover,
    encode_keys,
    make_bhs,
)
from iscsitools.wire.rfc7143 import RejectReason

TARGET = "iqn.2026-11.example:false"
BHS = 48
LOGIN_DONE = [
    (make_bhs(Opcode.LOGIN_RESPONSE, flags=0x81, stat_sn=0, exp_cmd_sn=1, max_cmd_sn=9, tsih=0), b""),
    (make_bhs(Opcode.LOGIN_RESPONSE, flags=0x87, stat_sn=1, exp_cmd_sn=1, max_cmd_sn=9, tsih=1), b""),
]
"""Both stages, agreed to."""
CHAP = encode_keys({"AuthMethod": "CHAP"})


def receive(sock: socket.socket) -> bytes:
    """One PDU, whole; empty at the end."""
    head = sock.recv(BHS, socket.MSG_WAITALL)
    length = int.from_bytes(head[5:8], "big") if len(head) == BHS else 0
    return head + sock.recv(length + -length % 4, socket.MSG_WAITALL) if length else head


def pdu(bhs: bytes, data: bytes) -> bytes:
    return bhs[:5] + len(data).to_bytes(3, "big") + bhs[8:] + data + bytes(-len(data) % 4)


@contextmanager
def false_target(answers: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, int]]:
    """A target that gives these answers one by one, whatever is asked, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                for bhs, data in answers:
                    request = receive(sock)
                    if not request:
                        return
                    # The answer has the tag of the request, unless it has one of its own.
                    sock.sendall(
                        pdu(bhs[:16] + (request[16:20] if not any(bhs[16:20]) else bhs[16:20]) + bhs[20:], data)
                    )

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join(30)
        assert not thread.is_alive()


def login_answer(data: bytes, flags: int = 0, **fields: int) -> tuple[bytes, bytes]:
    return make_bhs(Opcode.LOGIN_RESPONSE, flags=flags, exp_cmd_sn=1, max_cmd_sn=9, **fields), data


def more(number: int) -> tuple[bytes, bytes]:
    return login_answer(b"X=" + b"x" * 16000, 0x40, stat_sn=number)


BAD_LOGINS: list[tuple[list[tuple[bytes, bytes]], str]] = [
    ([login_answer(b"", 0, status_class=2, status_detail=1)], "login status 0201: authentication failure"),
    ([login_answer(b"", 0, status_class=9, status_detail=9)], "login status 0909: unknown"),
    ([(make_bhs(Opcode.NOP_IN), b"")], "opcode 0x20 during login"),
    ([(make_bhs(Opcode.REJECT, reason=4), b"")], "login rejected, reason 0x04"),
    ([login_answer(b"\xff\xfe=\x80\0")], "keys that are not UTF-8"),
    ([login_answer(b"AuthMethod=None\0")], "AuthMethod=None to an offer of CHAP"),
    ([login_answer(CHAP), login_answer(b"CHAP_A=5\0", stat_sn=1)], "CHAP_A=5 to an offer of 7"),
    ([login_answer(CHAP), login_answer(b"CHAP_A=7\0CHAP_I=x\0", stat_sn=1)], "no challenge of CHAP"),
    ([login_answer(CHAP), login_answer(b"CHAP_A=7\0CHAP_I=1\0CHAP_C=zz\0", stat_sn=1)], "no challenge of CHAP"),
    ([more(n) for n in range(6)], "an answer without end in login"),
    ([login_answer(CHAP), login_answer(CHAP, stat_sn=7)], "StatSN 0x7 after 0x0 in login"),
    ([], "the target closed the connection"),
]


@pytest.mark.parametrize(("answers", "text"), BAD_LOGINS)
def test_a_login_that_goes_wrong(answers: list[tuple[bytes, bytes]], text: str) -> None:
    with false_target(answers) as address, pytest.raises(InitiatorError) as caught:
        Session.connect(address, TARGET, chap=("alice", "a secret of alice"), algorithms="7", timeout=20)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "x", "-1", "\u0661"])
def test_a_number_that_is_none(value: str) -> None:
    keys = encode_keys({"MaxRecvDataSegmentLength": value})
    with false_target([LOGIN_DONE[0], (LOGIN_DONE[1][0], keys)]) as address, pytest.raises(ProtocolError) as caught:
        Session.connect(address, TARGET, timeout=20)
    assert str(caught.value) == f"MaxRecvDataSegmentLength={value} is no number"


def ping(session: Session) -> object:
    return session.nop(b"x")


def read(session: Session) -> object:
    return session.read(0, 1)


def reject(reason: int) -> tuple[bytes, bytes]:
    """A Reject of the first command after login; ITT 1, CmdSN 1."""
    header = make_bhs(Opcode.SCSI_COMMAND, itt=1, cmd_sn=1)
    return make_bhs(Opcode.REJECT, reason=reason, itt=0xFFFFFFFF, stat_sn=2, exp_cmd_sn=1, max_cmd_sn=9), header


AFTER_LOGIN: list[tuple[Callable[[Session], object], tuple[bytes, bytes], type[Exception], str]] = [
    (ping, (make_bhs(Opcode.NOP_OUT), b""), ProtocolError, "no PDU of a target's"),
    (ping, (bytes([0x2F]) + bytes(47), b""), ProtocolError, "no PDU of a target's"),
    (ping, (make_bhs(Opcode.NOP_IN, stat_sn=5), b""), ProtocolError, "StatSN 0x5, expected 0x2"),
    (read, (make_bhs(Opcode.SCSI_RESPONSE, itt=77, stat_sn=2, max_cmd_sn=9), b""), ProtocolError, "no such task"),
    (read, (make_bhs(Opcode.DATA_IN, data_sn=3, stat_sn=0), b"x"), ProtocolError, "DataSN 3, expected 0"),
    (read, (make_bhs(Opcode.DATA_IN), bytes(513)), ProtocolError, "more Data-In than"),
    (read, reject(RejectReason.PROTOCOL_ERROR), ProtocolError, "the target rejected the command"),
    (read, (make_bhs(Opcode.SCSI_RESPONSE, status=8, stat_sn=2, max_cmd_sn=9), b""), CommandError, "READ(16): BUSY"),
    (
        read,
        (make_bhs(Opcode.SCSI_RESPONSE, response=1, stat_sn=2, max_cmd_sn=9), b""),
        CommandError,
        "READ(16): response 0x01, not completed at the target",
    ),
]


@pytest.mark.parametrize(("do", "answer", "kind", "text"), AFTER_LOGIN)
def test_an_answer_that_is_wrong(
    do: Callable[[Session], object], answer: tuple[bytes, bytes], kind: type[Exception], text: str
) -> None:
    with (
        false_target([*LOGIN_DONE, answer]) as address,
        Session.connect(address, TARGET, timeout=20) as session,
        pytest.raises(kind) as caught,
    ):
        do(session)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reject_for_a_digest_is_no_end() -> None:
    # RFC 7143 7.8: the command goes on, and has its own answer.
    answers = [*LOGIN_DONE, reject(RejectReason.DATA_DIGEST_ERROR)]
    with (
        false_target(answers) as address,
        Session.connect(address, TARGET, timeout=20) as session,
        pytest.raises(ConnectionClosedError),
    ):
        session.read(0, 1)


def test_a_target_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TimeoutError) as caught:
        Session.connect(listener.getsockname(), TARGET, timeout=0.05)
    assert str(caught.value) == "the target sent no byte for 0.05 s"


def test_errors_are_of_one_kind() -> None:
    assert issubclass(LoginError, InitiatorError)
    assert issubclass(CommandError, OSError)


def test_discovery_sorts_addresses_by_target() -> None:
    pairs = b"TargetName=a\0TargetAddress=h:1,1\0TargetAddress=[::1]:2,1\0TargetName=b\0"
    text = make_bhs(Opcode.TEXT_RESPONSE, stat_sn=2, max_cmd_sn=9, ttt=0xFFFFFFFF)
    gone = make_bhs(Opcode.LOGOUT_RESPONSE, stat_sn=3, max_cmd_sn=9)
    with false_target([*LOGIN_DONE, (text, pairs), (gone, b"")]) as address:
        found = discover(address)
    assert [(target.name, target.addresses) for target in found] == [("a", ["h:1,1", "[::1]:2,1"]), ("b", [])]
