"""Events of a running server: out of its shared-memory ring, or over the socket where there can be none."""

from __future__ import annotations

import mmap
import os
import time
from typing import Final

from iscsitools.trace import memory
from iscsitools.trace.client.connection import ServerConnection
from iscsitools.trace.client.record_ring import Merged, RecordRing
from iscsitools.trace.client.source import Timeout, Trace
from iscsitools.trace.memory import PAGE
from iscsitools.trace.protocol import HEADER, Message, TraceError, number_of
from iscsitools.trace.record import SIZE

_SHORTEST_SLEEP: Final = 0.001
_LONGEST_SLEEP: Final = 0.020
_PATIENCE: Final = 1_000_000_000
"""Nanoseconds for which records wait for a thread that may still have earlier ones."""


class _LiveTrace(Trace):
    def __init__(self, link: ServerConnection) -> None:
        super().__init__(link.server["name"])
        self.server = link.server
        self._link = link

    def close(self) -> None:
        self.ended = True
        self._link.close()


class SocketTrace(_LiveTrace):
    """Events that come over the socket in blocks."""

    def __init__(self, link: ServerConnection) -> None:
        super().__init__(link)
        self._blocks: list[bytes] = []

    def read_block(self, timeout: float | None = None) -> bytes:
        """See :class:`Trace`."""
        self._forget()
        remaining = Timeout(timeout)
        while not self.ended:
            while self._link.inbox:
                item = self._link.inbox.popleft()
                if isinstance(item, bytes):
                    self.position += len(item) // SIZE
                    return item
                self._absorb(item)
            if self._link.ended:
                self.ended = True
            elif remaining.over:
                break
            else:
                self._link.pump(remaining.left(3600.0))
        return b""


class RingTrace(_LiveTrace):
    """Events out of shared memory. It is looked at every 1 to 20 ms, so that the server need not wake anybody.

    ``capacity`` is a ring's size in records, a power of two; ``rings`` how many there are: a server with data threads
    has one for each of them, and one for its loop's. The two descriptors are closed.
    """

    def __init__(self, link: ServerConnection, ring: int, position: int, capacity: int, rings: int = 1) -> None:
        super().__init__(link)
        self._sleep = _SHORTEST_SLEEP
        self._closed: list[tuple[Message, list[int]]] = []
        """Ends of connections, and how many records of each ring come before them at most."""
        size = HEADER + capacity * SIZE
        try:
            memory.check_shared(ring, rings * size)
            memory.check_shared(position, PAGE)
            self._map = mmap.mmap(ring, rings * size, mmap.MAP_SHARED, mmap.PROT_READ)
            self._page = mmap.mmap(position, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError) as error:
            link.close()
            raise TraceError(f"{link.path}: the ring cannot be mapped: {error}") from None
        finally:
            os.close(ring)
            os.close(position)
        self._view = memoryview(self._map)
        self._positions = memoryview(self._page).cast("Q")
        self._rings = [
            RecordRing(self._view[number * size : (number + 1) * size], self._positions[number : number + 1])
            for number in range(rings)
        ]
        self._merged = Merged(self._rings) if rings > 1 else None

    @property
    def events_by_ring(self) -> list[int]:
        """How many records were read of each ring: that of the loop's thread, and those of data threads."""
        return [self.position] if self._merged is None else self._merged.given

    def read_block(self, timeout: float | None = None) -> bytes:
        """See :class:`Trace`."""
        self._forget()
        remaining = Timeout(timeout)
        while not self.ended:
            was_over = self._link.ended
            if block := self._copy(was_over):
                # The strings of every connection in the block were sent before its record was written.
                self._link.pump(0)
                self._drain()
                return block
            if was_over:
                self._drain()
                self.ended = True
            elif remaining.over:
                break
            else:
                self._link.pump(remaining.left(self._sleep))
                self._drain()
                self._sleep = min(_LONGEST_SLEEP, self._sleep * 1.5)
        return b""

    def close(self) -> None:
        """See :class:`Trace`."""
        super().close()
        for ring in self._rings:
            ring.close()
        for view in (self._positions, self._view):
            view.release()
        self._map.close()
        self._page.close()

    def _drain(self) -> None:
        while self._link.inbox:
            item = self._link.inbox.popleft()
            if isinstance(item, dict):
                self._absorb(item)

    def _absorb(self, message: Message) -> None:
        after = message.get("after")
        if self._merged is None or "closed" not in message or not isinstance(after, list):
            super()._absorb(message)
        elif len(after) == len(self._rings):
            self._closed.append(({"closed": message["closed"]}, [number_of(count) for count in after]))
            self._tell_closed(self._merged)
        else:
            raise TraceError("not a trace: a connection's end in rings that there are not")

    def _tell_closed(self, merged: Merged) -> None:
        """Those that have ended before the records that come next: now all of theirs were given out."""
        due = [message for message, counts in self._closed if merged.has_given(counts)]
        self._closed = [pair for pair in self._closed if not merged.has_given(pair[1])]
        for message in due:
            super()._absorb(message)

    def _copy(self, last: bool) -> bytes:
        """The records that come next, of a server that is gone all that are left (``last``)."""
        try:
            block = self._rings[0].copy() if self._merged is None else self._merge(self._merged, last)
        except TraceError as error:
            raise TraceError(f"{self._link.path}: {error}") from None
        self.drops = sum(ring.drops for ring in self._rings)
        if block:
            self.position += len(block) // SIZE
            self._sleep = _SHORTEST_SLEEP
            if self._merged is not None:
                self._tell_closed(self._merged)
        return block

    def _merge(self, merged: Merged, last: bool) -> bytes:
        return merged.rest() if last else merged.take(time.monotonic_ns(), _PATIENCE)
