"""Questions that other threads ask on the event loop's thread, while they wait for the answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
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

        Raises ServerGone when the server has ended, or does not answer within 10 seconds.
        """
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def call() -> None:
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
            value, error = answer.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise ServerGone("the server does not answer") from None
        finally:
            with self._lock:
                self._waiting.discard(answer)
        if error is not None:
            raise error
        result: _T = value
        return result

    def close(self) -> None:
        """Answer nobody any more; those who wait are told."""
        with self._lock:
            self._ended = True
            for answer in self._waiting:
                answer.put((None, ServerGone("the server has ended")))
