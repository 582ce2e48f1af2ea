"""Connections beyond the limit: a bounded number learns why it is refused; a socket without descriptors pauses."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.initiator import DEFAULT_OFFERS, Opcode, encode_keys, make_bhs
from iscsitools.initiator.pdu_socket import pad
from iscsitools.server.callers import MOST_REFUSED
from iscsitools.trace.feed import service

from .harness import IQN, TEST_UNIT_READY, Running, eventually, one_target, running

ONE = one_target("ram:1M", limits="max_connections = 1")
MORE = bytes(512 << 10)
"""What a client sends behind its Login Request: more than a connection reads at once, less than is drained."""

PAUSE = 1234.5
"""Seconds that the end of a pause is known by."""


def login_request(number: int) -> bytes:
    keys = {"InitiatorName": f"iqn.2026-11.example:l{number}", "SessionType": "Normal", "TargetName": IQN}
    text = encode_keys(keys | DEFAULT_OFFERS)
    bhs = make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=0x87, isid=number, cid=1, data_length=len(text))
    return bhs + pad(text)


def everything(sock: socket.socket) -> bytes:
    """All that comes until the end of the stream. A reset is an error."""
    found = bytearray()
    while piece := sock.recv(65536):
        found += piece
    return bytes(found)


def connected(target: Running, count: int) -> list[socket.socket]:
    return [socket.create_connection(target.address, 30) for _ in range(count)]


def test_who_is_beyond_the_limit_gets_its_answer_whatever_else_it_sent(tmp_path: Path) -> None:
    with running(tmp_path, ONE) as target, target.connect() as session:
        for number in range(3):
            (sock,) = connected(target, 1)
            with sock:
                sock.sendall(login_request(number) + MORE)
                sock.recv(48, socket.MSG_PEEK | socket.MSG_WAITALL)
                for _ in range(64):  # a socket that was closed resets these, and the next one fails
                    sock.sendall(bytes(4096))
                answer = everything(sock)
            assert (answer[0], answer[36:38], len(answer)) == (Opcode.LOGIN_RESPONSE, b"\x03\x02", 48)
        callers = target.server.connections.callers
        eventually(lambda: callers.refused == 0)
        assert target.server.connections.refused == 3
        assert session.command(TEST_UNIT_READY).good


def test_a_bounded_number_waits_beyond_the_limit(tmp_path: Path) -> None:
    """One more is closed at once; when one has had its answer, the next one gets its own."""
    with running(tmp_path, ONE) as target, target.connect() as session, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(sock) for sock in connected(target, MOST_REFUSED)]
        callers = target.server.connections.callers
        eventually(lambda: callers.refused == MOST_REFUSED)
        for sock in connected(target, 8):
            with sock:
                assert everything(sock) == b""
        assert callers.refused == MOST_REFUSED
        for number, sock in enumerate(waiting):
            sock.sendall(login_request(number))
            assert everything(sock)[36:38] == b"\x03\x02"
        eventually(lambda: callers.refused == 0)
        (late,) = connected(target, 1)
        with late:
            late.sendall(login_request(99))
            assert everything(late)[36:38] == b"\x03\x02"
        assert session.command(TEST_UNIT_READY).good


def test_a_refused_client_that_never_ends_is_drained_of_a_bounded_part(tmp_path: Path) -> None:
    with running(tmp_path, ONE) as target, target.connect() as session:
        (sock,) = connected(target, 1)
        sent = 0
        with sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(login_request(1))
            while sent < 256 << 20:
                sent += sock.send(MORE)
        assert sent < 64 << 20  # what is drained, and what the two sockets' buffers take
        eventually(lambda: not len(target.server.connections._draining))
        assert session.command(TEST_UNIT_READY).good


@pytest.mark.parametrize("kind", ["watch", "control"])
def test_a_watch_socket_without_descriptors_pauses_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    accept, asked, full = socket.socket.accept, 0, True

    def accept_none(sock: socket.socket) -> tuple[socket.socket, object]:
        nonlocal asked
        if sock.family != socket.AF_UNIX:
            return accept(sock)
        asked += 1
        if full:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(sock)

    with running(tmp_path, one_target("ram:1M")) as target, target.connect() as session:
        monkeypatch.setattr(socket.socket, "accept", accept_none)
        monkeypatch.setattr(service, "_PAUSE", PAUSE)
        ends: list[Callable[[], None]] = []
        later = target.server.loop.call_later

        def call_later(seconds: float, callback: Callable[[], None]) -> object:
            return ends.append(callback) if seconds == PAUSE else later(seconds, callback)

        monkeypatch.setattr(target.server.loop, "call_later", call_later)
        assert target.server.trace is not None
        with socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(60)
            reader.connect(str(getattr(target.server.trace.paths, kind)))
            eventually(lambda: ends)
            for _ in range(50):  # each is a turn of the loop, which would find the socket readable
                assert session.command(TEST_UNIT_READY).good
            assert (asked, len(ends)) == (1, 1)
            full = False
            target.server.loop.call_soon(ends[0])
            assert "server" in json.loads(reader.recv(65536))
