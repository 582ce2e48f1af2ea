"""The calls of a backstore: in threads, of which each logical unit has a bounded number, or asynchronous."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from iscsitools.backstores.base import Backstore, Request
from iscsitools.server.completions import Completions
from iscsitools.server.loop import Loop

Work = Callable[[], None]
Done = Callable[[BaseException | None], None]


class _Call:
    """A call that waits for a thread."""

    __slots__ = ("done", "work")

    def __init__(self, work: Work, done: Done) -> None:
        self.work = work
        self.done = done


class Workers:
    """At most ``limit`` daemon threads, made when there is work for them; an :class:`.Executor`.

    A call that never returns keeps its thread, and no other unit's. The threads are daemons so that it cannot keep
    the process either.
    """

    def __init__(self, loop: Loop, limit: int, name: str) -> None:
        self._calls = 0
        self._completions = Completions(loop)
        self.loop = loop
        """Where results are reported."""
        self._limit = limit
        self._name = name
        self._threads = 0
        self._steps: deque[Work] = deque()
        self._waiting: deque[_Call] = deque()
        self._wake_ups: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True wakes a thread, which takes a waiting call; False ends it. What was for a withdrawn call stays."""

    @property
    def running(self) -> int:
        """Calls of both kinds that were asked for and have not been reported or withdrawn."""
        return self._calls + self._completions.running

    def ask(self, store: Backstore, request: Request, done: Done) -> Callable[[], bool]:
        """Submit an asynchronous call, then call ``done`` on the loop's thread with its error, or None."""
        return self._completions.ask(store, request, done)

    def listen(self, store: Backstore) -> None:
        """Watch the descriptor of a store's completions before the first call is asked for."""
        self._completions.listen(store)

    def expect(self, request: Request, done: Done) -> None:
        """A call is under way that somebody else began: call ``done`` as for one of :meth:`ask`."""
        self._completions.expect(request, done)

    def forget(self) -> None:
        """Its store is closed, and another object for the same disk may come in its place. With no call running."""
        self._completions.close()
        self._completions = Completions(self.loop)

    def submit(self, work: Work, done: Done) -> Callable[[], bool]:
        """Run ``work`` in a thread, then call ``done`` on the loop's thread with what it raised, or None.

        Returns what takes it back as long as no thread has begun it.
        """
        call = _Call(work, done)
        self._calls += 1
        self._waiting.append(call)
        # There may be one that was for a withdrawn call. The calls are counted first: a thread that takes one of both
        # in between makes the other number smaller, and one wake-up too many does no harm.
        waiting = len(self._waiting)
        if self._wake_ups.qsize() < waiting:
            self._wake_ups.put(True)
        if self._calls > self._threads and self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()
        return partial(self._withdraw, call)

    def _withdraw(self, call: _Call) -> bool:
        """Who takes a call out of the deque has it, this or a thread: that is one operation of the interpreter."""
        try:
            self._waiting.remove(call)
        except ValueError:
            return False
        self._calls -= 1
        return True

    def resume(self, step: Work) -> None:
        """Call ``step`` on the loop's thread after everything that is ready now, one in each turn."""
        self._steps.append(step)
        if len(self._steps) == 1:
            self.loop.next_turn(self._step)

    def _step(self) -> None:
        step = self._steps[0]
        try:
            step()
        finally:
            self._steps.popleft()
            if self._steps:
                self.loop.next_turn(self._step)

    def _run(self) -> None:
        while self._wake_ups.get():
            try:
                call = self._waiting.popleft()
            except IndexError:  # it was withdrawn
                continue
            error: BaseException | None = None
            try:
                call.work()
            except BaseException as raised:
                error = raised
            self.loop.call_soon(partial(self._report, call.done, error))
            del call, error

    def _report(self, done: Done, error: BaseException | None) -> None:
        self._calls -= 1
        done(error)

    def close(self) -> None:
        """Let the threads end when they have done what was submitted; the store's descriptor is watched no more."""
        self._completions.close()
        for _ in range(self._threads):
            self._wake_ups.put(False)
