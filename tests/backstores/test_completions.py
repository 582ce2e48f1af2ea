"""How completions of asynchronous calls come to the loop: many in one wake-up, in any thread, each once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from iscsitools.backstores.asynchronous import flush_request
from iscsitools.backstores.base import Backstore, Request
from iscsitools.server.completions import Completions
from iscsitools.server.loop import Loop
from iscsitools.server.workers import Workers
from iscsitools.testing.fixtures import served as served


def _fail() -> None:
    raise ValueError("a defect")


class Still(Backstore):
    """Keeps what is submitted."""

    kind = "still"

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fd = -1
        self.reaps: list[Callable[[], None]] = []

    def submit(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def completion_fd(self) -> int:
        return self.fd

    def reap(self) -> None:
        self.reaps.pop(0)()


class CountingLoop(Loop):
    def __init__(self) -> None:
        super().__init__()
        self.called = 0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.called += 1
        super().call_soon(callback)


@pytest.fixture
def loop():
    made = CountingLoop()
    yield made
    made.close()


def turn(loop: Loop) -> None:
    loop.call_soon(loop.stop)
    loop.run()
    loop._stopped = False


def test_many_completions_of_a_foreign_thread_cost_one_wake_up(loop: CountingLoop) -> None:
    store, completions, done = Still(), Completions(loop), []
    for _ in range(100):
        completions.ask(store, flush_request(), done.append)
    thread = threading.Thread(target=lambda: [request.complete() for request in store.requests])
    thread.start()
    thread.join()
    assert loop.called == 1
    assert (done, completions.running) == ([], 100)
    turn(loop)
    assert (done, completions.running) == ([None] * 100, 0)


def test_completions_in_reap_cost_no_wake_up(loop: CountingLoop) -> None:
    store, completions, done = Still(), Completions(loop), []
    read, write = os.pipe()
    store.fd = read
    for _ in range(100):
        completions.ask(store, flush_request(), done.append)

    def reap() -> None:
        os.read(read, 1)
        for request in store.requests:
            request.complete()

    store.reaps.append(reap)
    os.write(write, b"x")
    loop.call_later(0.0, loop.stop)
    loop.run()
    assert done == [None] * 100
    assert loop.called == 0
    completions.close()
    os.close(read)
    os.close(write)


def test_a_reap_that_raises_is_called_again_later_and_what_it_owes_stays_owed(loop: CountingLoop) -> None:
    store, completions, done = Still(), Completions(loop), []
    read, write = os.pipe()
    store.fd = read
    completions.ask(store, flush_request(), done.append)
    store.reaps += [
        _fail,
        lambda: (os.read(read, 1), store.requests[0].complete())[1],
    ]
    os.write(write, b"x")
    later: list[Callable[[], None]] = []
    loop.call_later = lambda seconds, callback: later.append(callback)  # type: ignore[assignment,method-assign,return-value]
    turn(loop)
    turn(loop)
    assert (done, completions.running, len(store.reaps)) == ([], 1, 1)
    later[0]()
    turn(loop)
    assert (done, completions.running, len(store.reaps)) == ([None], 0, 0)
    completions.close()
    os.close(read)
    os.close(write)


def test_a_second_completion_is_not_looked_at(loop: CountingLoop) -> None:
    store, completions, done = Still(), Completions(loop), []
    completions.ask(store, flush_request(), done.append)
    store.requests[0].complete()
    store.requests[0].complete(ValueError())
    turn(loop)
    assert done == [None]


def test_what_is_under_way_counts_as_a_call_that_runs(loop: CountingLoop) -> None:
    store, workers, done = Still(), Workers(loop, 1, "w"), []
    workers.ask(store, flush_request(), done.append)
    assert workers.running == 1
    store.requests[0].complete()
    turn(loop)
    assert workers.running == 0
    workers.close()
