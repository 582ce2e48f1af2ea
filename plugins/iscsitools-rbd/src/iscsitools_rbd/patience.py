"""How long a request may wait for Ceph: then the initiator gets BUSY, and the blocks wait until Ceph has answered.

What was sent to Ceph cannot be taken back: a write whose time is over may still land, minutes later. So its blocks are
remembered until it completes, and whatever would overlap with it gets BUSY at once: nothing that was written later can
be replaced by it.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Final

from iscsitools.backstores.base import Operation, Request

_CHANGES: Final = frozenset({Operation.WRITE, Operation.DISCARD, Operation.WRITE_ZEROES})


class Patience:
    """The requests under way, and those whose time is over. ``begin`` and ``end`` may be called from any thread."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[Request, float] = {}
        self.late: dict[Request, float] = {}
        """Those that were answered with BUSY and that Ceph still has, with the time at which they were sent."""

    def begin(self, request: Request) -> bool:
        """A request is to be sent; False: it got BUSY, for one that is late may still change its blocks."""
        if self.late and self._is_kept_off(request):
            request.complete(OSError(errno.EBUSY, "Ceph has not answered an earlier write of these blocks"))
            return False
        self._under_way[request] = self._clock()
        return True

    def _is_kept_off(self, request: Request) -> bool:
        start, end = request.offset, request.offset + request.length
        with self._lock:
            return any(
                late.operation in _CHANGES and late.offset < end and start < late.offset + late.length
                for late in self.late
            )

    def end(self, request: Request) -> bool:
        """Ceph has answered; False: too late, the request's buffers must not be touched any more."""
        with self._lock:
            if self._under_way.pop(request, None) is not None:
                return True
            self.late.pop(request, None)
            return False

    def look(self) -> None:
        """Give BUSY to those whose time is over."""
        before = self._clock() - self.seconds
        while True:
            with self._lock:
                oldest = next(iter(self._under_way), None)
                if oldest is None or self._under_way[oldest] > before:
                    return
                self.late[oldest] = self._under_way.pop(oldest)
            oldest.complete(OSError(errno.EBUSY, f"Ceph has not answered within {self.seconds:g} s"))

    def give_up(self, error: OSError) -> None:
        """Fail all that is under way, and forget what is late: the client was shut out, so nothing of it can land."""
        with self._lock:
            ended = list(self._under_way)
            self._under_way.clear()
            self.late.clear()
        for request in ended:
            request.complete(error)

    @property
    def waiting_for(self) -> float:
        """Seconds since the oldest request that was late was sent; 0: none is late."""
        with self._lock:
            return self._clock() - next(iter(self.late.values())) if self.late else 0.0
