"""Events of a running server: out of its shared-memory ring, or over the socket where there can be none."""

from __future__ import annotations

import mmap
import os
from typing import Final

from iscsitools.trace import memory
from iscsitools.trace.client.connection import ServerConnection
from iscsitools.trace.client.source import Timeout, Trace
from iscsitools.trace.memory import PAGE, words_of
from iscsitools.trace.protocol import HEADER, TraceError
from iscsitools.trace.record import SIZE, WORDS

_SHORTEST_SLEEP: Final = 0.001
_LONGEST_SLEEP: Final = 0.020
_MOST_AT_ONCE: Final = 16384
"""Records of one block: 2 MiB."""


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
    """Events out of the ring. It is looked at every 1 to 20 ms, so that the server need not wake anybody.

    ``capacity`` is the ring's size in records, a power of two. The two descriptors are closed.
    """

    def __init__(self, link: ServerConnection, ring: int, position: int, capacity: int) -> None:
        super().__init__(link)
        self._capacity = capacity
        self._sleep = _SHORTEST_SLEEP
        try:
            memory.check_shared(ring, HEADER + capacity * SIZE)
            memory.check_shared(position, PAGE)
            self._ring = mmap.mmap(ring, HEADER + capacity * SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
            self._page = mmap.mmap(position, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError) as error:
            link.close()
            raise TraceError(f"{link.path}: the ring cannot be mapped: {error}") from None
        finally:
            os.close(ring)
            os.close(position)
        self._view = memoryview(self._ring)
        self._header = self._view[:HEADER].cast("Q")
        self._records = self._view[HEADER:]
        self._words = words_of(self._records)
        self._word = memoryview(self._page).cast("Q")

    def read_block(self, timeout: float | None = None) -> bytes:
        """See :class:`Trace`."""
        self._forget()
        remaining = Timeout(timeout)
        while not self.ended:
            was_over = self._link.ended
            if block := self._copy():
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
        for view in (self._header, self._words, self._records, self._view, self._word):
            view.release()
        self._ring.close()
        self._page.close()

    def _drain(self) -> None:
        while self._link.inbox:
            item = self._link.inbox.popleft()
            if isinstance(item, dict):
                self._absorb(item)

    def _copy(self) -> bytes:
        """Copy the records that are there, up to the end of the ring, and say so to the server."""
        first = self.position & self._capacity - 1
        count = self._available(first)
        self.drops = self._header[0]
        if not count:
            return b""
        block = bytes(self._records[first * SIZE : (first + count) * SIZE])
        # The writer spoils the numbers of the records that it is going to overwrite first, the oldest one before the
        # others; it does that only to records that it was told are read.
        if self._words[first * WORDS] != self.position + 1:
            raise TraceError(f"{self._link.path}: records were overwritten while they were read")
        self.position += count
        self._word[0] = self.position
        self._sleep = _SHORTEST_SLEEP
        return block

    def _available(self, first: int) -> int:
        """Count the whole records from ``first`` on, without a gap: they are written in order, so search by halves."""
        words, position = self._words, self.position
        limit = min(self._capacity - first, _MOST_AT_ONCE)

        def written(count: int) -> bool:
            return words[(first + count - 1) * WORDS] == position + count

        if not written(1):
            return 0
        present, absent = 1, 2
        while absent <= limit and written(absent):
            present, absent = absent, absent * 2
        absent = min(absent, limit + 1)
        while absent - present > 1:
            middle = (present + absent) // 2
            if written(middle):
                present = middle
            else:
                absent = middle
        return present
