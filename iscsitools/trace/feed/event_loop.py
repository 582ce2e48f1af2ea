"""What the trace server wants of an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class EventLoop(Protocol):
    """Calls back on its one thread, level-triggered."""

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call whenever ``fd`` can be read."""

    def remove_reader(self, fd: int) -> None:
        """Call no more; no error when there was none."""

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        """Call whenever ``fd`` can be written."""

    def remove_writer(self, fd: int) -> None:
        """Call no more; no error when there was none."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> object:
        """Call once after ``seconds``; 0 is after the callbacks that are due now."""
