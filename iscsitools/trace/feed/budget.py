"""What readers may cost the server in a second, each of them and all together: counted in units of its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iscsitools.trace.feed.event_loop import EventLoop

UNIT: Final = 4096
"""Bytes of an answer that cost a unit; to make them takes the loop some 100 us."""


class SharedBudget:
    """What all readers together may still cost in this second."""

    def __init__(self, per_second: int, loop: EventLoop) -> None:
        self._per_second = per_second
        self._loop = loop
        self._waiting: dict[Callable[[], None], None] = {}
        self._refilling = False
        self.left = per_second

    def spend(self, units: int) -> None:
        """Something was answered."""
        self.left -= units
        if not self._refilling:
            self._refilling = True
            self._loop.call_later(1.0, self._refill)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` when there is something left again."""
        self._waiting[go_on] = None

    def forget(self, go_on: Callable[[], None]) -> None:
        """Take :meth:`wait` back."""
        self._waiting.pop(go_on, None)

    def _refill(self) -> None:
        self._refilling = False
        self.left = min(self._per_second, self.left + self._per_second)
        if self.left < self._per_second:
            self.spend(0)
        # In the order in which they began to wait: who could not go on now is first the next time.
        while self._waiting and self.left > 0:
            go_on = next(iter(self._waiting))
            del self._waiting[go_on]
            go_on()


class ReaderBudget:
    """What one reader may still cost in this second. ``go_on`` is called when there is something left again."""

    def __init__(self, shared: SharedBudget, per_second: int, loop: EventLoop, go_on: Callable[[], None]) -> None:
        self._shared = shared
        self._per_second = per_second
        self._loop = loop
        self._go_on = go_on
        self._left = per_second
        self._refilling = False
        self._closed = False

    def affords(self) -> bool:
        """Whether another request may be handled; if the others have spent all, ``go_on`` is called later."""
        if self._left > 0 and self._shared.left > 0:
            return True
        if self._left > 0:
            self._shared.wait(self._go_on)
        return False

    def spend(self, units: int) -> None:
        """Something was answered, of this size."""
        self._left -= units
        self._shared.spend(units)
        if not self._refilling:
            self._refilling = True
            self._loop.call_later(1.0, self._refill)

    def _refill(self) -> None:
        self._refilling = False
        self._left = min(self._per_second, self._left + self._per_second)
        if not self._closed:
            if self._left < self._per_second:
                self.spend(0)
            self._go_on()

    def close(self) -> None:
        """The reader is gone."""
        self._closed = True
        self._shared.forget(self._go_on)
