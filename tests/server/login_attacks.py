"""Attacks by logins: strangers, guesses, and sessions that come and go."""

from __future__ import annotations

import contextlib
import socket
import struct

from support.target import RunningTarget

from iscsitools.initiator import DEFAULT_OFFERS, LoginError, Opcode, Session, encode_keys, make_bhs
from iscsitools.initiator.pdu_socket import pad

from .attack_sessions import ADDRESS_LIMIT, BAD, CHAPPED, INITIATOR_LIMIT, Closes, flood, sessions
from .harness import IQN


def login_request(number: int, name: str = IQN, initiator: str = BAD) -> bytes:
    text = encode_keys({"InitiatorName": initiator, "SessionType": "Normal", "TargetName": name} | DEFAULT_OFFERS)
    how = {"flags": 0x87, "isid": number, "cid": 1, "data_length": len(text)}
    return make_bhs(Opcode.LOGIN_REQUEST, immediate=True, **how) + pad(text)


def strangers(target: RunningTarget, count: int) -> list[socket.socket]:
    return [socket.create_connection(target.addresses[0]) for _ in range(count)]


def comes_and_goes(target: RunningTarget) -> list[Closes]:
    for session in sessions(target, 100):
        session.close()
    return []


def begins_to_log_in(target: RunningTarget) -> list[Closes]:
    found = strangers(target, 50)
    for number, sock in enumerate(found):
        flood(sock, login_request(number)[: number + 1])
    return list(found)


def logs_in_byte_by_byte(target: RunningTarget) -> list[Closes]:
    found = strangers(target, 10)
    for number, sock in enumerate(found):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in login_request(number, initiator=f"{BAD}{number}"):
            flood(sock, bytes([byte]))
        sock.settimeout(30)
        assert sock.recv(48)[0] == Opcode.LOGIN_RESPONSE
    return list(found)


def reconnects(target: RunningTarget) -> list[Closes]:
    """Log in and hang up, with a reset every second time."""
    for number in range(200):
        (sock,) = strangers(target, 1)
        sock.sendall(login_request(1))
        if number % 2:
            sock.recv(48)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    return []


def reinstates(target: RunningTarget) -> list[Closes]:
    return [Session.connect(target.addresses[0], IQN, initiator=BAD, isid=1) for _ in range(100)]


def asks_targets_that_are_not_there(target: RunningTarget) -> list[Closes]:
    found = strangers(target, 100)
    for number, sock in enumerate(found):
        sock.sendall(login_request(1, name=f"{IQN}.none{number}"))
        assert sock.recv(48)[36:38] == b"\x02\x03"
    return list(found)


def guesses_secrets(target: RunningTarget) -> list[Closes]:
    """Of names that there are and that there are not, until the brake holds it, and beyond."""
    statuses = set()
    for number in range(60):
        try:
            guess = f"user{number % 40}", "a guess at it..."
            Session.connect(target.addresses[0], CHAPPED, initiator=BAD, chap=guess)
        except LoginError as error:
            statuses.add(error.status)
    assert statuses in ({(2, 1), (3, 1)}, {(3, 1)})
    return []


def comes_beyond_the_limit_of_an_initiator(target: RunningTarget) -> list[Closes]:
    found = strangers(target, 2 * INITIATOR_LIMIT)
    statuses = []
    for number, sock in enumerate(found):
        sock.sendall(login_request(number))
        statuses.append(sock.recv(48)[36:38])
    assert statuses.count(b"\x03\x02") == INITIATOR_LIMIT
    return list(found)


def comes_beyond_the_limit_of_an_address(target: RunningTarget) -> list[Closes]:
    found = strangers(target, ADDRESS_LIMIT + 60)
    for number, sock in enumerate(found[::-1]):
        with contextlib.suppress(OSError):
            sock.sendall(login_request(number, initiator=f"{BAD}{number}"))
    with contextlib.suppress(OSError):
        found[-1].recv(48)
    return list(found)
