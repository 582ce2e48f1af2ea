"""The thread that takes ``top``'s samples."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from iscsitools.trace.views.top.model import Sample

Samples = list[tuple[str, Sample | None]]


class Sampler(threading.Thread):
    """Takes samples in the background, so that a server that does not answer does not stop the screen."""

    def __init__(self, take: Callable[[], Samples], interval: float, wake: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="sampler")
        self.interval = interval
        self.results: queue.SimpleQueue[Samples] = queue.SimpleQueue()
        self._take = take
        self._wake = wake
        self._again = threading.Event()
        self._ended = False

    def run(self) -> None:
        """Sample until :meth:`end`."""
        while not self._ended:
            self._again.wait(self.interval)
            self._again.clear()
            if not self._ended:
                self.results.put(self._take())
                self._wake()

    def change(self, interval: float) -> None:
        """Take the next sample now, and then one per ``interval`` seconds."""
        self.interval = interval
        self._again.set()

    def end(self) -> None:
        """Take no more samples."""
        self._ended = True
        self._again.set()
