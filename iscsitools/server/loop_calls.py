"""Questions that other threads ask on the event loop's thread, while they wait for the answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from iscsitools.lifecycle import ServerGone
from iscsitools.server.loop import Loop

_ANSWER_SECONDS: Final = 10.0
_T = TypeVar("_T")


class LoopCalls:
    """Has functions called on the loop's thread, for threads that are not it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: set[queue.SimpleQueue[Any]] = set()
        self._ended = False

    def ask(self, question: Callable[[], _T]) -> _T:
        """Have ``question`` be called on the loop's thread, and return or raise what it does.

        Raises ServerGone when the server has ended, or does not answer within 10 seconds: the question is not asked
        then, for who gave up does not know what came of it.
        """
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        turn = threading.Lock()  # whoever gets it first: the loop asks, or who waits gives up

        def call() -> None:
            if not turn.acquire(blocking=False):
                return
            try:
                answer.put((question(), None))
            except Exception as error:
                answer.put((None, error))

        with self._lock:
            if self._ended:
                raise ServerGone("the server has ended")
            self._waiting.add(answer)
        self._loop.call_soon(call)
        try:
            value, error = self._wait(answer, turn)
        finally:
            with self._lock:
                self._waiting.discard(answer)
        if error is not None:
            raise error
        result: _T = value
        return result

    @staticmethod
    def _wait(
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]], turn: threading.Lock
    ) -> tuple[Any, BaseException | None]:
        with suppress(queue.Empty):
            return answer.get(timeout=_ANSWER_SECONDS)
        if turn.acquire(blocking=False):
            raise ServerGone("the server does not answer")
        return answer.get()  # it is being asked, or was just now

    def close(self) -> None:
        """Answer nobody any more; those who wait are told."""
        with self._lock:
            self._ended = True
            for answer in self._waiting:
                answer.put((None, ServerGone("the server has ended")))
