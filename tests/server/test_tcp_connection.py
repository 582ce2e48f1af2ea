"""The adapter between socket and engine, with a socket that takes everything and one that takes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from iscsitools.iscsi.connection.turns import NOT_NOW
from iscsitools.server.poller import READ, WRITE
from iscsitools.server.tcp_connection import _LINGER_NS, TcpConnection


class Loop:
    def __init__(self) -> None:
        self.interest = -1
        self.turns: list[Any] = []

    def next_turn(self, callback: Any) -> None:
        self.turns.append(callback)

    def run_turns(self) -> None:
        for _ in range(len(self.turns)):
            self.turns.pop(0)()

    def watch(self, fd: int, interest: int, handler: Any) -> None:
        self.interest = interest

    def change(self, fd: int, interest: int) -> None:
        self.interest = interest

    def unwatch(self, fd: int) -> None:
        self.interest = -1


class Socket:
    def __init__(self) -> None:
        self.full = False
        self.closed = False

    def fileno(self) -> int:
        return 99

    def send(self, data: memoryview) -> int:
        if self.full:
            raise BlockingIOError
        return len(data)

    def recv_into(self, buffer: memoryview) -> int:
        raise BlockingIOError

    def close(self) -> None:
        self.closed = True


class Engine:
    """A connection whose input always makes more output: it stalls again each time that it goes on.

    A turn lasts for three times; then it wants another one.
    """

    def __init__(self) -> None:
        self.stalled = False
        self.unfinished = False
        self.session = None
        self.left = 3
        self.close_reason = ""
        self.deadline = 0
        self.waiting = 0
        self.resumed = 0
        self.raises: BaseException | None = None
        self.info = type("Info", (), {"remote": "192.0.2.1:5"})
        self.out = self
        self.call_back = None

    def own(self) -> None:
        """No data thread has it."""

    def turn(self, fd: int, now: int) -> int:
        return NOT_NOW

    def get_buffers(self) -> list[memoryview]:
        return [memoryview(bytearray(1))]

    def unsent(self) -> int:
        return self.waiting

    def output(self) -> list[memoryview]:
        return [memoryview(bytes(self.waiting))]

    def only_piece(self) -> None:
        return None

    def sent(self, count: int, now: int) -> None:
        self.waiting -= count

    def resume(self, now: int) -> None:
        if self.raises:
            raise self.raises
        if not self.left:
            self.stalled, self.unfinished = False, True
            return
        self.left -= 1
        self.resumed += 1
        self.waiting = 1000

    def go_on(self, now: int) -> None:
        self.left = 3
        self.stalled, self.unfinished = True, False
        self.resume(now)

    def on_time(self, now: int) -> None:
        raise AssertionError("nobody asked for the time")

    def close(self, reason: str) -> None:
        self.close_reason = self.close_reason or reason
        self.stalled = False

    def closed(self) -> None:
        self.waiting = 0


@pytest.fixture
def parts() -> tuple[TcpConnection, Any, Any, Any, list[TcpConnection]]:
    loop, sock, engine, gone = Loop(), Socket(), Engine(), []
    tcp = TcpConnection(loop, sock, gone.append)  # type: ignore[arg-type]
    tcp.start(engine)  # type: ignore[arg-type]
    loop.run_turns()
    engine.stalled = True
    return tcp, loop, sock, engine, gone


def test_input_that_a_turn_leaves_waits_for_the_next(parts):
    tcp, loop, _, engine, _ = parts
    tcp.flush()
    assert (engine.resumed, loop.interest, len(loop.turns)) == (3, 0, 1)
    tcp.flush()
    assert (engine.resumed, loop.interest, len(loop.turns)) == (3, 0, 1)
    loop.turns.pop()()
    assert (engine.resumed, loop.interest, len(loop.turns)) == (6, 0, 1)
    engine.unfinished = False
    loop.turns.pop()()
    tcp.flush()
    assert (engine.resumed, loop.interest, loop.turns) == (6, READ, [])


def test_a_turn_of_a_link_that_was_closed_does_nothing(parts):
    tcp, loop, _, engine, gone = parts
    tcp.flush()
    tcp.close("gone")
    loop.turns.pop()()
    assert (engine.resumed, gone) == (3, [tcp])


def test_output_that_nobody_takes_does_not_keep_a_connection(parts):
    tcp, loop, sock, engine, gone = parts
    engine.stalled, engine.waiting, sock.full = False, 500, True
    engine.close("logged out")
    tcp.flush_safely()
    assert (loop.interest, sock.closed) == (WRITE, False)
    tcp.on_time(1)
    tcp.on_time(_LINGER_NS)
    assert not sock.closed
    tcp.on_time(1 + _LINGER_NS)
    assert (loop.interest, sock.closed, gone) == (-1, False, [])
    loop.run_turns()
    assert (sock.closed, gone) == (True, [tcp])
    tcp.on_time(2 + _LINGER_NS)
    assert (gone, loop.turns) == ([tcp], [])


def test_an_end_that_waits_for_its_turn_is_done_at_once_when_the_server_ends(parts):
    tcp, loop, sock, engine, gone = parts
    engine.stalled = False
    engine.close("logged out")
    tcp.flush()
    tcp.flush()
    assert (sock.closed, gone, len(loop.turns)) == (False, [], 1)
    tcp.close("the server ends")
    assert (sock.closed, gone, engine.close_reason) == (True, [tcp], "logged out")
    loop.run_turns()
    tcp.close("again")
    assert gone == [tcp]


def test_the_last_output_leaves_before_the_close(parts):
    tcp, loop, sock, engine, gone = parts
    engine.stalled, engine.waiting, sock.full = False, 500, True
    engine.close("logged out")
    tcp.flush_safely()
    sock.full = False
    tcp.on_event(WRITE)
    loop.run_turns()
    assert (engine.waiting, sock.closed, gone) == (0, True, [tcp])


@pytest.mark.parametrize("error", [OSError(104, "Connection reset by peer"), ValueError("a defect"), SystemExit(1)])
@pytest.mark.parametrize("way", ["flush_safely", "on_event"])
def test_whatever_is_raised_ends_this_connection_only(parts, error, way):
    tcp, loop, sock, engine, gone = parts
    engine.raises = error
    tcp.flush_safely() if way == "flush_safely" else tcp.on_event(WRITE)
    loop.run_turns()
    assert (sock.closed, gone) == (True, [tcp])
    assert engine.close_reason == ("Connection reset by peer" if isinstance(error, OSError) else "internal error")


@pytest.mark.parametrize("step", ["own", "close", "closed"])
def test_an_end_that_raises_is_an_end(parts, monkeypatch, step):
    """Else its socket would be reported, and raise, for ever."""

    def defect(*_: object) -> None:
        raise AttributeError("a defect")

    tcp, loop, sock, engine, gone = parts
    engine.raises = ValueError("another")
    monkeypatch.setattr(engine, step, defect)
    tcp.on_event(WRITE)
    loop.run_turns()
    assert (loop.interest, sock.closed, gone) == (-1, True, [tcp])


def test_a_link_that_stopped_reading_still_sends(parts):
    tcp, loop, sock, engine, _ = parts
    engine.stalled, engine.waiting, sock.full = False, 500, True
    tcp.stop_reading()
    assert loop.interest == WRITE
    sock.full = False
    tcp.on_event(WRITE)
    assert (engine.waiting, loop.interest, sock.closed) == (0, 0, False)
