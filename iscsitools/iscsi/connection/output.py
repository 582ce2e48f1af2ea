"""What a connection has still to send: chunks with answers one behind the other, and buffers of read data between.

The data path holds the open chunk and moves its tail; here are the bytes that wait behind it. A chunk goes back to the
loop's stock when all that was in it was sent, so while sockets keep up all connections share one warm chunk, and one
that is never quite empty keeps no more of them than it has unsent bytes.

Data is private here: what a command has read does not change any more, whatever is written before it was sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import CHUNK_SIZE, Buffers, Chunk, Holding
from iscsitools.probes.firing import XFER_DONE, XFER_READ
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import RESERVED_TAG, padding

OUTPUT_LIMIT: Final = 4 << 20
"""Bytes of unsent output above which a connection's input waits."""
_PIECES: Final = 512
_INLINE: Final = 8 << 10
"""Data up to this size is copied behind its header; longer data stays where it is until it was sent."""


class Output:
    """The output of one connection, in order.

    Places are counted in all that is ever sent: the chunk's first byte has the place ``path.chunk_begin``, and behind
    what was put so far is ``path.chunk_begin + path.tail``, whether there is a chunk or not. The socket took
    ``path.sent`` of them.
    """

    def __init__(self, buffers: Buffers, memory: Holding, path: DataPath) -> None:
        self._buffers = buffers
        self._memory = memory
        self._held = 0
        """Bytes that are in the account for output that waits."""
        self._path = path
        self._full: deque[tuple[int, Chunk]] = deque()
        """Chunks with no room left, and the place where each ends."""
        self._start = 0
        """Bytes of the open chunk from here on are not in the queue yet."""
        self._queue: deque[memoryview] = deque()
        self._releases: deque[tuple[int, Callable[[], None]]] = deque()

    def open_chunk(self) -> Chunk:
        """See that the data path has a chunk."""
        path = self._path
        chunk = path.chunk
        if chunk is None:
            chunk = path.chunk = self._buffers.take_chunk()
            self._start = 0
        return chunk

    def make_room(self, needed: int) -> None:
        """See that the data path has a chunk with so many bytes left."""
        if self._path.tail + needed > CHUNK_SIZE:
            self._leave_chunk()
        self.open_chunk()

    @property
    def _end(self) -> int:
        """The place behind all that was put."""
        return self._path.chunk_begin + self._path.tail

    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        path = self._path
        return path.chunk_begin + path.tail - path.sent

    def put(self, header: bytes, data: bytes | bytearray | memoryview = b"") -> None:
        """Add a PDU of a 48-byte header and a data segment. Long data must not change until it was sent."""
        path = self._path
        length = len(data)
        if path.header_digest:
            header += crc32c_wire(header)
        if not length:
            self._append(header)
            return
        filler = bytes(padding(length))
        trailer = filler + crc32c_wire(data, filler) if path.data_digest else filler
        if length <= _INLINE:
            self._append(b"".join((header, data, trailer)))
            return
        self._append(header)
        self._close_segment()
        self._queue.append(memoryview(data))
        path.chunk_begin += length
        self._append(trailer)

    def go_on(self, put: int, unsent: bytes) -> None:
        """Go on behind ``put`` bytes of a data thread; ``unsent`` of them wait. Nothing waits before them."""
        self._path.chunk_begin += put
        self._path.sent += put - len(unsent)
        if unsent:
            self._queue.append(memoryview(unsent))
            self._memory.claim(len(unsent))
            self.when_sent(lambda: self._memory.release(len(unsent)))

    def after_turn(self, chunk: Chunk) -> None:
        """The data path has taken a turn by itself with this chunk, and has left something to do here."""
        path = self._path
        if path.chunk is chunk:
            self._start = path.tail - self.unsent()
        if path.marks:
            self._fire_marks()

    def _append(self, data: bytes) -> None:
        """Add bytes that lie in one chunk."""
        path = self._path
        end = path.tail + len(data)
        if end > CHUNK_SIZE:
            self._leave_chunk()
            end = len(data)
        self.open_chunk().view[path.tail : end] = data
        path.tail = end

    def _close_segment(self) -> None:
        path = self._path
        if path.chunk is not None and path.tail > self._start:
            self._queue.append(path.chunk.view[self._start : path.tail])
            self._start = path.tail

    def _leave_chunk(self) -> None:
        """No more goes into the open chunk."""
        self._close_segment()
        if self._path.chunk is not None:
            self._full.append((self._end, self._path.chunk))
            self._forget_chunk()

    def _forget_chunk(self) -> None:
        path = self._path
        path.chunk_begin += path.tail
        path.chunk = None
        path.tail = self._start = 0

    def pieces(self) -> list[memoryview]:
        """The next bytes to send, at most 512 pieces."""
        self._close_segment()
        queue = self._queue
        if len(queue) <= _PIECES:
            return list(queue)
        return [queue[i] for i in range(_PIECES)]

    def only_piece(self) -> memoryview | None:
        """All that waits to be sent, if it is one stretch of the open chunk: what it mostly is. Else None."""
        path = self._path
        if self._queue or path.chunk is None:
            return None
        return path.chunk.view[self._start : path.tail]

    def all_sent(self) -> None:
        """Everything was accepted by the socket: :meth:`sent` of all bytes, for :meth:`only_piece`. Hot."""
        path = self._path
        path.sent = path.chunk_begin + path.tail
        self._start = path.tail
        if path.marks:
            self._fire_marks()
        while self._releases and self._releases[0][0] <= path.sent:
            self._releases.popleft()[1]()
        if self._held:
            self._release_held()
        self._return_chunks()

    def sent(self, count: int) -> None:
        """Drop ``count`` bytes that the socket took, and give back what nobody needs any more."""
        self._path.sent += count
        queue = self._queue
        while count:
            first = queue[0]
            if count < len(first):
                queue[0] = first[count:]
                break
            count -= len(first)
            queue.popleft()
        if self._path.marks:
            self._fire_marks()
        while self._releases and self._releases[0][0] <= self._path.sent:
            self._releases.popleft()[1]()
        while self._full and self._full[0][0] <= self._path.sent:
            self._buffers.return_chunk(self._full.popleft()[1])
        self.settle()

    def settle(self) -> None:
        """Give the chunks back when nothing waits to be sent."""
        if not self._queue and self._path.tail == self._start:
            self._release_held()
            self._return_chunks()

    def wait(self) -> None:
        """The socket takes no more for now: count the memory that waits with it, and keep no more than is needed.

        While memory is tight, what is left of a chunk is copied, and the chunk given back. Data of commands is in the
        account already, until it was sent.
        """
        if self._buffers.reserved > self._buffers.tight_from:
            self._leave_chunk()
            chunks = {id(chunk.data) for _, chunk in self._full}
            for index, piece in enumerate(self._queue):
                if id(piece.obj) in chunks:
                    self._queue[index] = memoryview(bytes(piece))
            held = sum(len(piece) for piece in self._queue if type(piece.obj) is bytes)
            self._return_chunks()
        else:
            held = CHUNK_SIZE * (len(self._full) + (self._path.chunk is not None))
        self._memory.claim(held - self._held)
        self._held = held

    def _release_held(self) -> None:
        if self._held:
            self._memory.release(self._held)
            self._held = 0

    def _return_chunks(self) -> None:
        path = self._path
        if path.chunk is not None:
            self._buffers.return_chunk(path.chunk)
            self._forget_chunk()
        while self._full:
            self._buffers.return_chunk(self._full.popleft()[1])

    def when_sent(self, release: Callable[[], None]) -> None:
        """Call ``release`` when all that was put so far has been sent, or given up."""
        self._releases.append((self._end, release))

    def mark(self, lun: int, itt: int, address: int, offset: int, length: int) -> None:
        """Fire a read's xfer-done when the socket has accepted all that was put so far."""
        self._path.marks.append((self._end, lun, itt, address, offset, length))

    def _fire_marks(self) -> None:
        path = self._path
        marks, all_sent = path.marks, path.probes.sent
        if all_sent is not None:
            all_sent(path.info, marks, self._path.sent)
        while marks and marks[0][0] <= self._path.sent:
            _, lun, itt, address, offset, length = marks.popleft()
            self._done(lun, itt, address, offset, length)

    def _done(self, lun: int, itt: int, address: int, offset: int, length: int) -> None:
        probes = self._path.probes
        if probes.mask & XFER_DONE:
            probes.xfer(
                Probe.XFER_DONE, self._path.info, lun, itt, RESERVED_TAG, address, offset, length, XFER_READ
            )  # fmt: skip

    def abandon(self) -> None:
        """Give up what was not sent: transfers end with what had moved of them (xfer_len of xfer-done)."""
        marks = self._path.marks
        for position, lun, itt, address, offset, length in marks:
            missing = position - self._path.sent
            self._done(lun, itt, address, offset, max(0, length - max(0, missing)))
        marks.clear()
        for _, release in self._releases:
            release()
        self._releases.clear()
        self._queue.clear()
        self._start = self._path.tail
        self._release_held()
        self._return_chunks()
        self._path.sent = self._end
