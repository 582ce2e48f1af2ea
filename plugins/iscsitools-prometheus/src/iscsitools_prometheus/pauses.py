"""A page of metrics is made in a thread of the server's process, which has one interpreter for all.

The event loop asks for the interpreter at each turn, and gets it from a thread that computes after 5 ms only (Python's
switch interval). So whoever makes a page gives it up by itself, after half a millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_WORK: Final = 0.0005
_PAUSE: Final = 0.0002
"""Seconds. A sleep of 0 would have the interpreter back before the loop's thread is awake."""


class Pauses:
    """Call it often: it returns at once, or sleeps when there was work for half a millisecond."""

    __slots__ = ("_began", "_clock", "_sleep")

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._began = clock()

    def __call__(self) -> None:
        """Let others have the interpreter, if it is time."""
        if self._clock() - self._began >= _WORK:
            self._sleep(_PAUSE)
            self._began = self._clock()


def no_pauses() -> None:
    """For who holds nobody up."""
