"""A reader's events over its socket, in blocks: where there is no shared memory, or the processor reorders stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from iscsitools.trace.feed.sink import Sink
from iscsitools.trace.protocol import Message, encode
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection

FLUSH_SECONDS: Final = 0.01
MOST_AT_ONCE: Final = 1024
"""Records of one block."""


class Outlet(Protocol):
    """The reader's socket."""

    @property
    def idle(self) -> bool:
        """Whether all that was given to :meth:`send` is on its way."""

    def send(self, data: bytes) -> None:
        """Send, later if it has to be."""

    def send_message(self, message: Message) -> bool:
        """Send a message in the same way; False when the reader is gone."""


class BatchSink(Sink):
    """Records go into a buffer of the server; :meth:`flush` sends them while the socket takes them.

    ``later`` schedules a flush. A reader that is too slow fills the buffer, and then events are dropped and counted.
    """

    def __init__(
        self,
        selection: Selection,
        records: int,
        outlet: Outlet,
        lost: Callable[[], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        super().__init__(
            selection, memoryview(bytearray(records * SIZE)), outlet.send_message, outlet.send_message, lost
        )
        self._outlet = outlet
        self._later = later
        self._sent = 0
        self._drops_told = 0
        self._scheduled = False
        self._released = False

    def flush(self) -> None:
        """Send blocks until the socket is full or all is sent."""
        self._scheduled = False
        if self._released:
            return
        while self._outlet.idle and (count := self._next_block()):
            slot = self._sent & self._capacity - 1
            block = bytes(self._memory[slot * SIZE : (slot + count) * SIZE])
            self._outlet.send(encode({"block": count}) + block)
            self._sent += count
        if self._outlet.idle and self.drops != self._drops_told:
            self._drops_told = self.drops
            self._outlet.send(encode({"drops": self.drops}))
        if self.written != self._sent:
            self._schedule()
        else:
            self._revoke()  # so that the next event asks for room, which schedules the next flush

    def connection_closed(self, ident: int) -> None:
        """See :class:`Sink`."""
        self.flush()
        super().connection_closed(ident)

    def release(self) -> None:
        """See :class:`Sink`."""
        self._released = True
        super().release()

    def _next_block(self) -> int:
        slot = self._sent & self._capacity - 1
        return min(self.written - self._sent, MOST_AT_ONCE, self._capacity - slot)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._later(self.flush)

    def _free(self, written: int) -> int:
        self._schedule()
        return self._capacity - (written - self._sent)
