"""Worker threads for backstore calls that may block: each logical unit has its own, and a bound on them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from iscsitools.server.loop import Loop

Work = Callable[[], None]
Done = Callable[[BaseException | None], None]


class Workers:
    """At most ``limit`` daemon threads, made when there is work for them; an :class:`.Executor`.

    A call that never returns keeps its thread, and no other unit's. The threads are daemons so that it cannot keep
    the process either.
    """

    def __init__(self, loop: Loop, limit: int, name: str) -> None:
        self.running = 0
        """Calls that were submitted and have not been reported."""
        self._loop = loop
        self._limit = limit
        self._name = name
        self._threads = 0
        self._queue: queue.SimpleQueue[tuple[Work, Done] | None] = queue.SimpleQueue()

    def submit(self, work: Work, done: Done) -> None:
        """Run ``work`` in a thread, then call ``done`` on the loop's thread with what it raised, or None."""
        self.running += 1
        self._queue.put((work, done))
        if self.running > self._threads and self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, done = item
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:
                error = raised
            self._loop.call_soon(lambda done=done, error=error: self._report(done, error))  # type: ignore[misc]
            del item, work, done, error

    def _report(self, done: Done, error: BaseException | None) -> None:
        self.running -= 1
        done(error)

    def close(self) -> None:
        """Let the threads end when they have done what was submitted."""
        for _ in range(self._threads):
            self._queue.put(None)
