"""What a connection has still to send: chunks with answers one behind the other, and buffers of read data between.

Bytes of a chunk from ``_start`` to ``tail`` are not yet in the queue; the fast path moves ``tail`` itself. A chunk goes
back to the loop's stock when all that was in it was sent, so while sockets keep up all connections share one warm
chunk, and one that is never quite empty keeps no more of them than it has unsent bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from iscsitools.backstores.base import FileRange
from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import CHUNK_SIZE, Buffers, Chunk
from iscsitools.probes.sites import XFER_DONE, XFER_READ, ConnectionInfo, Mark, Probes
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import DIGEST_LENGTH, RESERVED_TAG, padding

OUTPUT_LIMIT: Final = 4 << 20
"""Bytes of unsent output above which a connection's input waits."""
_PIECES: Final = 512
_INLINE: Final = 8 << 10
"""Data up to this size is copied behind its header; longer data stays where it is until it was sent."""


class Output:
    """The output of one connection, in order."""

    def __init__(self, buffers: Buffers, info: ConnectionInfo, probes: Probes) -> None:
        self.tail = 0
        """Where the next byte goes in the open chunk."""
        self.bytes_sent = 0
        self._buffers = buffers
        self._info = info
        self._probes = probes
        self._chunk: Chunk | None = None
        self._full: deque[tuple[int, Chunk]] = deque()
        """Chunks with no room left, and where in all that was ever sent each ends."""
        self._start = 0
        self._queue: deque[memoryview | FileRange] = deque()
        self._queued = 0
        self._releases: deque[tuple[int, Callable[[], None]]] = deque()
        self._marks: deque[Mark] = deque()
        self._header_digest = False
        self._data_digest = False

    def start_digests(self, header: bool, data: bool) -> None:
        """Add digests to the PDUs from here on (RFC 7143 11.2.3, 11.2.4)."""
        self._header_digest = header
        self._data_digest = data

    def open_chunk(self) -> Chunk:
        """The chunk that ``tail`` belongs to."""
        chunk = self._chunk
        if chunk is None:
            chunk = self._chunk = self._buffers.take_chunk()
            self.tail = self._start = 0
        return chunk

    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._queued + self.tail - self._start

    def put(self, header: bytes, data: bytes | bytearray | memoryview = b"") -> int:
        """Add a PDU of a 48-byte header and a data segment; returns where in the open chunk the header begins."""
        length = len(data)
        pad = padding(length)
        inline = length <= _INLINE
        need = len(header) + 2 * DIGEST_LENGTH + ((length + pad) if inline else 0) + 3
        if self.tail + need > CHUNK_SIZE:
            self._next_chunk()
        chunk = self.open_chunk()
        begin = self.tail
        self._append(chunk, header)
        if self._header_digest:
            self._append(chunk, crc32c_wire(header))
        if not length:
            return begin
        filler = bytes(pad)
        if inline:
            self._append(chunk, data)
        else:
            self._close_segment()
            self._enqueue(memoryview(data))
        self._append(chunk, filler)
        if self._data_digest:
            self._append(chunk, crc32c_wire(data, filler))
        return begin

    def _append(self, chunk: Chunk, data: bytes | bytearray | memoryview) -> None:
        end = self.tail + len(data)
        chunk.view[self.tail : end] = data
        self.tail = end

    def _close_segment(self) -> None:
        if self._chunk is not None and self.tail > self._start:
            self._enqueue(self._chunk.view[self._start : self.tail])
            self._start = self.tail

    def put_file(self, source: FileRange) -> None:
        """Add the data segment of the PDU whose header ends at ``tail``, to be sent from a file. No digest is made."""
        self._close_segment()
        self._enqueue(source)

    def _enqueue(self, piece: memoryview | FileRange) -> None:
        self._queue.append(piece)
        self._queued += len(piece)

    def _next_chunk(self) -> None:
        self._close_segment()
        if self._chunk is not None:
            self._full.append((self.bytes_sent + self._queued, self._chunk))
            self._chunk = None

    def pieces(self) -> list[memoryview | FileRange]:
        """The next bytes to send, at most 512 pieces."""
        self._close_segment()
        queue = self._queue
        if len(queue) <= _PIECES:
            return list(queue)
        return [queue[i] for i in range(_PIECES)]

    def only_piece(self) -> memoryview | None:
        """All that waits to be sent, if it is one stretch of the open chunk: what it mostly is. Else None."""
        if self._queue or self._chunk is None:
            return None
        return self._chunk.view[self._start : self.tail]

    def all_sent(self) -> None:
        """Everything was accepted by the socket: :meth:`sent` of all bytes, for :meth:`only_piece`. Hot."""
        self.bytes_sent += self.tail - self._start
        self._start = self.tail
        if self._marks:
            self._fire_marks()
        while self._releases and self._releases[0][0] <= self.bytes_sent:
            self._releases.popleft()[1]()
        self._return_chunks()

    def sent(self, count: int) -> None:
        """Drop ``count`` bytes that the socket took, and give back what nobody needs any more."""
        self.bytes_sent += count
        self._queued -= count
        queue = self._queue
        while count:
            first = queue[0]
            if count < len(first):
                queue[0] = first.after(count) if isinstance(first, FileRange) else first[count:]
                break
            count -= len(first)
            queue.popleft()
        if self._marks:
            self._fire_marks()
        while self._releases and self._releases[0][0] <= self.bytes_sent:
            self._releases.popleft()[1]()
        while self._full and self._full[0][0] <= self.bytes_sent:
            self._buffers.return_chunk(self._full.popleft()[1])
        self.settle()

    def settle(self) -> None:
        """Give the chunks back when nothing waits to be sent."""
        if not self._queue and self.tail == self._start:
            self._return_chunks()

    def _return_chunks(self) -> None:
        if self._chunk is not None:
            self._buffers.return_chunk(self._chunk)
            self._chunk = None
            self.tail = self._start = 0
        while self._full:
            self._buffers.return_chunk(self._full.popleft()[1])

    def when_sent(self, release: Callable[[], None]) -> None:
        """Call ``release`` when all that was put so far has been sent, or given up."""
        self._releases.append((self.bytes_sent + self.unsent(), release))

    def mark(self, end: int, lun: int, itt: int, address: int, offset: int, length: int) -> None:
        """Fire a read's xfer-done when the byte before ``end`` of the open chunk was accepted by the socket."""
        position = self.bytes_sent + self._queued + end - self._start
        self._marks.append((position, lun, itt, address, offset, length))

    def mark_here(self, lun: int, itt: int, address: int, offset: int, length: int) -> None:
        """The same for all that was put so far."""
        self.mark(self.tail, lun, itt, address, offset, length)

    def _fire_marks(self) -> None:
        marks, all_sent = self._marks, self._probes.sent
        if all_sent is not None:
            all_sent(self._info, marks, self.bytes_sent)
        while marks and marks[0][0] <= self.bytes_sent:
            _, lun, itt, address, offset, length = marks.popleft()
            self._done(lun, itt, address, offset, length)

    def _done(self, lun: int, itt: int, address: int, offset: int, length: int) -> None:
        if self._probes.mask & XFER_DONE:
            self._probes.xfer(
                Probe.XFER_DONE, self._info, lun, itt, RESERVED_TAG, address, offset, length, XFER_READ
            )  # fmt: skip

    def abandon(self) -> None:
        """Give up what was not sent: transfers end with what had moved of them (xfer_len of xfer-done)."""
        for position, lun, itt, address, offset, length in self._marks:
            missing = position - self.bytes_sent
            self._done(lun, itt, address, offset, max(0, length - max(0, missing)))
        self._marks.clear()
        for _, release in self._releases:
            release()
        self._releases.clear()
        self._queue.clear()
        self._queued = 0
        self._start = self.tail
        self._return_chunks()
