"""A good initiator's command goes ahead of a flood of logins, of ends and of connections; counted, not timed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from engine.harness import IQN, Target

from iscsitools.initiator import DEFAULT_OFFERS, Opcode, encode_keys, make_bhs
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.login.phase import LOGIN_WORK
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.server.listeners import ACCEPTS_AT_ONCE, Listeners
from iscsitools.server.loop import TURNS_AT_ONCE, Loop
from iscsitools.server.tcp_connection import TcpConnection
from iscsitools.wire.rfc7143 import Pdu

FLOOD = 40
COMMAND = make_bhs(Opcode.NOP_OUT, immediate=True, itt=7, ttt=0xFFFFFFFF, flags=0x80)


def login_request(number: int) -> bytes:
    text = encode_keys({"InitiatorName": f"iqn.2026-11.example:{number}", "TargetName": IQN} | DEFAULT_OFFERS)
    bhs = make_bhs(
        Opcode.LOGIN_REQUEST, immediate=True, flags=0x87, isid=0x800000000000 | number, cid=1, cmd_sn=1,
        data_length=len(text),
    )  # fmt: skip
    return bhs + text + bytes(-len(text) % 4)


class Scene:
    """Links of one loop, and what is done for them in order: ``good`` for the good initiator's command."""

    def __init__(self) -> None:
        self.target = Target()
        self.loop = Loop()
        self.done: list[str] = []
        self.peers: list[socket.socket] = []
        self.tcp: list[TcpConnection] = []
        self.serve = self.target.dispatcher.take
        self.target.dispatcher.take = self.take  # type: ignore[method-assign]
        self.when_first: Callable[[], object] = lambda: None
        """Called when the first of the flood is served."""

    def take(self, conn: Connection, pdu: Pdu) -> None:
        self.note({Opcode.NOP_OUT: "good", Opcode.LOGIN_REQUEST: "login"}[Opcode(pdu.opcode)])
        self.serve(conn, pdu)

    def note(self, what: str) -> None:
        if what != "good" and what not in self.done:
            self.when_first()
        self.done.append(what)
        if self.done.count("good") and self.done.count(what) == FLOOD:
            self.loop.stop()

    def connect(self, sock: socket.socket | None = None) -> socket.socket:
        ours, peer = (sock, sock) if sock else socket.socketpair()
        ours.setblocking(False)
        self.peers.append(peer)
        info = ConnectionInfo(len(self.peers), "127.0.0.1:3260", "127.0.0.1:50000")
        t = self.target
        tcp = TcpConnection(self.loop, ours, lambda _: self.note("end"))
        self.tcp.append(tcp)
        tcp.start(Connection(info, t.buffers, t.probes, t.dispatcher, t.now, Timers(0, 0, 0, 0), lambda conn: None))
        return peer

    def log_in(self, count: int) -> list[socket.socket]:
        """So many sessions."""
        peers = [self.connect() for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.sendall(login_request(number))
        self.run_until(lambda: self.done.count("login") == count)
        self.done.clear()
        return peers

    def run_until(self, over: Callable[[], bool]) -> None:
        def look() -> None:
            if over():
                self.loop.stop()

        self.loop.each_wake_up.append(look)
        self.loop.run()
        self.loop.each_wake_up.remove(look)
        self.loop._stopped = False

    def run(self) -> int:
        """Run until all were served; returns how many of the flood went ahead of the command that came with the first.

        The command is sent when the first one is served: before that no order is anybody's due.
        """
        self.loop.call_later(10, self.loop.stop)
        self.loop.run()
        return self.done.index("good")

    def close(self) -> None:
        self.when_first = lambda: None
        for tcp in self.tcp:
            tcp.close("the test ends")
        for peer in self.peers:
            peer.close()
        self.loop.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_logins_that_came_at_once(scene):
    (good,) = scene.log_in(1)
    peers = [scene.connect() for _ in range(FLOOD)]
    for number, peer in enumerate(peers):
        peer.sendall(login_request(100 + number))
    scene.when_first = partial(good.sendall, COMMAND)
    assert 0 < scene.run() <= TURNS_AT_ONCE


def test_sessions_that_end_at_once(scene):
    good, *others = scene.log_in(1 + FLOOD)
    for peer in others:
        peer.close()
    scene.when_first = partial(good.sendall, COMMAND)
    assert 0 < scene.run() <= TURNS_AT_ONCE
    assert len(list(scene.target.table)) == 1


def test_connections_that_come_at_once(scene):
    (good,) = scene.log_in(1)

    def accepted(sock: socket.socket, _local: str, _remote: str) -> None:
        scene.connect(sock)
        scene.note("accept")

    listener = socket.create_server(("127.0.0.1", 0), backlog=FLOOD)
    listener.setblocking(False)
    listeners = Listeners(scene.loop, accepted, {})
    listeners.add(None, [listener])  # type: ignore[arg-type]
    listeners.start()
    callers = [socket.create_connection(listener.getsockname()) for _ in range(FLOOD)]
    scene.when_first = partial(good.sendall, COMMAND)
    assert 0 < scene.run() <= ACCEPTS_AT_ONCE
    listeners.close()
    for sock in callers:
        sock.close()


def test_a_login_in_many_pieces_is_served_in_turns():
    """Requests with the C bit, each of which is answered: no more of them in one turn than its budget pays."""
    target = Target()
    conn = target.connect().conn
    piece = make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=0x44, isid=1 << 47, cid=1, cmd_sn=1, data_length=4)
    served = 0
    take = target.dispatcher.take

    def counted(conn: Connection, pdu: Pdu) -> None:
        nonlocal served
        served += 1
        take(conn, pdu)

    target.dispatcher.take = counted  # type: ignore[method-assign]
    data = (piece + b"aaaa") * 30
    conn.get_buffers()[0][: len(data)] = data
    conn.received(len(data), target.now)
    turns = [served]
    while conn.unfinished:
        conn.go_on(target.now)
        turns.append(served - sum(turns))
    assert sum(turns) == 30
    assert max(turns) <= (512 << 10) // LOGIN_WORK
