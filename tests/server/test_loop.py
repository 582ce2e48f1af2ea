"""The event loop, its threads' way back, and the server on a system without epoll."""

from __future__ import annotations

import fcntl
import os
import queue
import selectors
import socket
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsitools.server import loop as loop_module
from iscsitools.server import poller as poller_module
from iscsitools.server.loop import Loop
from iscsitools.server.poller import READ, Poller
from iscsitools.server.workers import Workers

from .harness import SECONDS, eventually, one_target, own_threads, running


@pytest.fixture(params=["epoll", "poll", "select"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The loop's poller: epoll, or what other systems have."""
    name: str = request.param
    if name != "epoll":
        kind = selectors.PollSelector if name == "poll" else selectors.SelectSelector
        monkeypatch.setattr(selectors, "DefaultSelector", kind)
        monkeypatch.setattr(loop_module, "make_poller", poller_module._SelectorPoller)
    return name


@pytest.fixture
def loop(poller: str) -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_timers_come_in_order_and_can_be_cancelled(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0.03, lambda: seen.append("last"))
    loop.call_later(0.01, lambda: seen.append("first"))
    loop.call_later(0.02, lambda: seen.append("never")).cancel()
    loop.call_later(0.04, loop.stop)
    loop.run()
    assert seen == ["first", "last"]


def test_a_callback_that_raises_does_not_end_the_loop(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = socket.socketpair()
    with reader, writer:
        calls = []

        def event(what: int) -> None:
            calls.append(reader.recv(1))
            raise ValueError("a defect")

        loop.watch(reader.fileno(), READ, event)
        writer.send(b"ab")
        loop.call_soon(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        loop.call_later(0.0, lambda: calls[99])  # type: ignore[arg-type,return-value]
        loop.each_wake_up.append(lambda: loop.stop() if len(calls) == 2 else None)
        loop.run()
        loop.unwatch(reader.fileno())
    assert calls == [b"a", b"b"]
    assert [r.exc_info[0] for r in caplog.records if r.exc_info].count(ValueError) == 2


def test_many_threads_call_back(loop: Loop) -> None:
    workers = Workers(loop, 4, "lun-test")
    results: list[int] = []
    for number in range(500):
        workers.submit(lambda: None, lambda error, n=number: results.append(n))  # type: ignore[misc]
    loop.each_wake_up.append(lambda: None if workers.running else loop.stop())
    loop.run()
    workers.close()
    assert sorted(results) == list(range(500))
    eventually(lambda: not own_threads())


def test_a_call_that_no_thread_has_begun_is_taken_back_and_the_others_run(loop: Loop) -> None:
    workers = Workers(loop, 1, "lun-test")
    go = threading.Event()
    began = threading.Event()
    ran: list[int] = []

    def first() -> None:
        began.set()
        go.wait(SECONDS)

    take_back = [workers.submit(first, lambda error: ran.append(0))]
    took = []
    for round_ in range(50):  # what was taken back leaves nothing that grows, and nothing that the next ones lack
        take_back.append(workers.submit(lambda: None, lambda error, n=round_: ran.append(n + 1)))  # type: ignore[misc]
        took.append(round_ % 3 == 0 or take_back[-1]())
    assert began.wait(SECONDS)
    assert not take_back[0]()
    assert all(took)
    go.set()
    loop.each_wake_up.append(lambda: None if workers.running else loop.stop())
    loop.run()
    workers.close()
    assert ran == [0, *range(1, 51, 3)]
    eventually(lambda: not own_threads())


def test_one_step_of_an_executor_is_done_in_a_turn(loop: Loop) -> None:
    workers = Workers(loop, 1, "lun-test")
    done: list[str] = []

    def step(name: str, left: int) -> None:
        done.append(name)
        if left:
            workers.resume(lambda: step(name, left - 1))

    def turn() -> None:
        done.append("|")
        if done.count("a") == 3:
            loop.stop()

    workers.resume(lambda: step("a", 2))
    workers.resume(lambda: step("b", 1))
    loop.each_wake_up.append(turn)
    loop.run()
    assert "".join(done).strip("|") == "a|b|a|b|a"


def test_an_error_of_any_kind_is_reported(loop: Loop) -> None:
    workers = Workers(loop, 1, "lun-test")
    errors: list[BaseException | None] = []

    def fails() -> None:
        raise SystemExit(4)

    workers.submit(fails, errors.append)
    workers.submit(lambda: None, errors.append)
    loop.each_wake_up.append(lambda: None if workers.running else loop.stop())
    loop.run()
    workers.close()
    assert (type(errors[0]), errors[1]) == (SystemExit, None)
    eventually(lambda: not own_threads())


def test_a_call_that_returns_after_the_end_writes_to_nobodys_descriptor(poller: str) -> None:
    loop = Loop()
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(SECONDS)
        loop.call_soon(lambda: None)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    loop.close()
    pipes = [os.pipe() for _ in range(4)]  # they get the numbers that the loop had
    go.set()
    thread.join(SECONDS)
    assert done.is_set()
    for reader, writer in pipes:
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        os.close(reader)
        os.close(writer)


def test_the_server_on_every_poller(poller: str, tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:16M", "gate:16M", limits="nop_interval = 0")) as target:
        sessions = [target.connect(name=f"n{n}") for n in range(3)]
        data = os.urandom(1 << 20)
        for lun in (0, 1):
            for session in sessions:
                session.write(0, data, lun)
                assert session.read(0, 2048, lun) == data
        sessions[0].wire.sock.shutdown(socket.SHUT_RDWR)
        eventually(lambda: len(target.server.connections.tcp) == 2)
        assert sessions[1].logout().response == 0
        eventually(lambda: len(target.server.connections.tcp) == 1)
        target.end()
        for session in sessions:
            session.close()


def waiting_bytes(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_results_of_threads_come_back_in_batches(loop: Loop) -> None:
    """However many calls end while the loop is at something else, they wake it once, and come in one turn."""
    workers = Workers(loop, 4, "batch")
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    reported: list[tuple[int, int]] = []
    turns: list[int] = []
    loop.each_wake_up.append(lambda: turns.append(len(reported)))

    def submit(number: int) -> None:
        def done(error: BaseException | None) -> None:
            assert error is None
            reported.append((number, len(turns)))
            if len(reported) in (40, 80):
                loop.stop()

        workers.submit(lambda: ended.put(number), done)

    for wave in range(2):
        for number in range(40):
            submit(number)
        for _ in range(40):
            ended.get(timeout=SECONDS)
        assert eventually(lambda: len(loop._calls) == 40 and waiting_bytes(loop._wake_in))
        assert waiting_bytes(loop._wake_in) == 1
        loop.run()
        loop._stopped = False
        assert waiting_bytes(loop._wake_in) == 0
        assert {turn for _, turn in reported[40 * wave :]} == {wave}
    workers.close()


class Looks:
    """A poller that keeps how long each wait was allowed to be; before the third look without one, a byte comes."""

    def __init__(self, poller: Poller, writer: socket.socket) -> None:
        self.poller, self.writer = poller, writer
        self.waits: list[float] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.poller, name)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        self.waits.append(timeout)
        if self.waits.count(0) == 3 or (timeout and len(self.waits) > 1):
            self.writer.send(b"b")
        return self.poller.poll(timeout)


@pytest.mark.parametrize("seconds", [0, 1000])
def test_busy_poll_looks_again_before_it_sleeps(loop: Loop, seconds: int) -> None:
    reader, writer = socket.socketpair()
    with reader, writer:
        got = b""

        def event(what: int) -> None:
            nonlocal got
            got += reader.recv(9)
            if len(got) == 2:
                loop.stop()

        loop.busy_poll = seconds
        loop.watch(reader.fileno(), READ, event)
        looks = Looks(loop._poller, writer)
        loop._poller = looks  # type: ignore[assignment]
        writer.send(b"a")
        loop.run()
        assert (got, looks.waits) == (b"ab", [-1, 0, 0, 0] if seconds else [-1, -1])
