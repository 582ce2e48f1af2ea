"""Events that a connection's data path takes by itself, and what has it ask again: the end, a pause, tight memory."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.native import needs_data_path

from iscsitools.initiator import Session
from iscsitools.server.poller import READ
from iscsitools.server.tcp_connection import TcpConnection

from .harness import Running, eventually, one_target, read10, running


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Running]:
    needs_data_path()
    with running(tmp_path, one_target("ram:16M", limits="nop_interval = 0", more="threads = 1")) as found:
        yield found


def on_loop(target: Running, step: Callable[[], Any]) -> Any:
    """What ``step`` returns, called on the loop's thread."""
    done: list[Any] = []
    target.server.loop.call_soon(lambda: done.append(step()))
    eventually(lambda: done)
    return done[0]


def alone(target: Running) -> tuple[Session, TcpConnection]:
    """A session whose connection is served by its data path alone, which has seen a READ come by itself."""
    session = target.connect()
    for _ in range(3):
        session.read(0, 8)
    (tcp,) = target.server.connections.tcp.values()
    assert tcp.conn.path.alone
    return session, tcp


def report(target: Running, tcp: TcpConnection) -> None:
    """The event of a READ that came in the same look at the sockets as what was done before it."""
    target.server.loop._handlers[tcp.sock.fileno()](READ)


def count_events(tcp: TcpConnection, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Those that come by ``on_event``."""
    seen: list[int] = []
    turn = tcp.conn.turn
    monkeypatch.setattr(tcp.conn, "turn", lambda fd, now: seen.append(fd) or turn(fd, now))
    return seen


def test_reads_and_writes_are_taken_by_the_data_path(target: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    session, tcp = alone(target)
    events = count_events(tcp, monkeypatch)
    data = os.urandom(8 * 512)
    session.write(16, data)
    heard = tcp.conn.path.heard
    for _ in range(20):
        assert session.read(16, 8) == data
    assert not events
    assert tcp.conn.path.heard > heard
    session.close()


def test_what_it_leaves_is_served_and_it_goes_on(target: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    session, tcp = alone(target)
    events = count_events(tcp, monkeypatch)
    for _ in range(3):
        assert session.nop(b"ping").data == b"ping"
        session.read(0, 8)
        session.read(0, 8)
    # A ping is left by its turn; the command behind it is on_event's, and then the path is alone again.
    assert len(events) == 3
    assert session.logout().response == 0
    eventually(lambda: not target.server.connections.tcp)
    session.close()


def test_a_session_that_is_ended_gets_no_answer_any_more(target: Running) -> None:
    session, tcp = alone(target)
    served = tcp.conn.path.commands

    def end() -> None:
        session.start_command(read10(0, 8), read=4096)
        (ours,) = target.server.table
        target.server.login.drop_session(ours, "for the test")
        report(target, tcp)

    on_loop(target, end)
    eventually(lambda: not target.server.connections.tcp)
    assert tcp.conn.close_reason == "for the test"
    assert tcp.conn.path.commands == served
    session.wire.sock.settimeout(5)
    assert session.wire.sock.recv(1) == b""
    session.close()


def test_nothing_is_taken_while_reading_is_stopped(target: Running) -> None:
    session, tcp = alone(target)
    served = tcp.conn.path.commands

    def stop() -> None:
        session.start_command(read10(0, 8), read=4096)
        tcp.stop_reading()
        report(target, tcp)

    on_loop(target, stop)
    on_loop(target, lambda: None)
    assert tcp.conn.path.commands == served
    on_loop(target, tcp.read_again)
    eventually(lambda: tcp.conn.path.commands == served + 1)
    session.close()


def test_while_memory_is_tight_events_go_the_way_that_asks_for_it(
    target: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, tcp = alone(target)
    events = count_events(tcp, monkeypatch)
    buffers = target.server.buffers
    on_loop(target, lambda: setattr(buffers, "tight_from", -1))
    session.read(0, 8)
    assert len(events) == 1
    on_loop(target, lambda: buffers.bound(buffers.limit))
    session.close()


def test_a_reset_ends_the_connection_with_its_reason(target: Running) -> None:
    session, tcp = alone(target)
    sock = session.wire.sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    eventually(lambda: not target.server.connections.tcp)
    assert tcp.conn.close_reason in ("Connection reset by peer", "connection closed by the initiator")


def test_the_initiator_closes_its_end(target: Running) -> None:
    session, tcp = alone(target)
    session.wire.sock.close()
    eventually(lambda: not target.server.connections.tcp)
    assert tcp.conn.close_reason == "connection closed by the initiator"
