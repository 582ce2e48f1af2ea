"""The engine's memory: one receive buffer for a loop, output chunks, buffers for data, and the one account of it all.

Nothing here is allocated for an I/O: a fresh 256 KiB of memory costs the kernel more than the copy into it. What lies
in the stock for the next one who wants it (at most 9 MiB of chunks and 16 MiB of buffers) is not in the account.
"""

from __future__ import annotations

import ctypes
from typing import Final

RECEIVE_SIZE: Final = (256 << 10) + 4096
"""Of the receive buffer: room for a whole PDU of the longest data segment that we declare (RFC 7143 13.12)."""
CHUNK_SIZE: Final = (1 << 20) + (128 << 10)
"""Of an output chunk: room for the longest READ of the data path and the headers of all its Data-Ins."""
_SPARE_CHUNKS: Final = 8
_SPARE_BYTES: Final = 16 << 20
_SMALLEST: Final = 16
_TIGHT: Final = 8
"""With less than this part of the limit left, connections are served with what they have reserved before."""


def address_of(buffer: bytearray | memoryview) -> int:
    """The address of a writable buffer's first byte, for xfer_laddr; 0 for an empty one."""
    view = memoryview(buffer)
    return ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) and not view.readonly else 0


class Chunk:
    """A stretch of output memory; answers are written into it one behind the other."""

    __slots__ = ("address", "data", "view")

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.view = memoryview(self.data)
        self.address = address_of(self.data)


class Buffers:
    """The memory of all connections of one loop, and the account of what they hold (:class:`Holding`).

    ``limit``: bytes that may be held at once: data that is arriving, requests that wait for their turn, commands' data
    in both directions, output that initiators do not take, text, what sums keep of unended commands. At the limit the
    newest need is refused, and its command ends with BUSY; those who were there before go on.
    """

    def __init__(self, limit: int = 256 << 20) -> None:
        self.receive = bytearray(RECEIVE_SIZE)
        self.receive_view = memoryview(self.receive)
        self.receive_address = address_of(self.receive)
        self.bound(limit)
        self.reserved = 0
        """Bytes in the account."""
        self.by_owner: dict[str, int] = {}
        """The same by initiator; nobody who holds nothing is in it."""
        self._chunks: list[Chunk] = []
        self.turn_chunk = Chunk(CHUNK_SIZE)
        """What a data path's turn may use; whoever keeps it puts another one here."""
        self._spare: dict[int, list[bytearray]] = {}
        self._spare_bytes = 0

    def bound(self, limit: int) -> None:
        """Let ``limit`` bytes be held from now on; what is held already stays."""
        self.limit = limit
        self.tight_from = limit - limit // _TIGHT
        """With more than this in the account, nothing more may be held without asking."""

    def take_chunk(self) -> Chunk:
        """A chunk for output; give it back with :meth:`return_chunk` when all of it was sent."""
        return self._chunks.pop() if self._chunks else Chunk(CHUNK_SIZE)

    def return_chunk(self, chunk: Chunk) -> None:
        """Keep a chunk for the next one who wants it."""
        if len(self._chunks) < _SPARE_CHUNKS:
            self._chunks.append(chunk)

    def take(self, length: int) -> bytearray:
        """A buffer of at least ``length`` bytes, of undefined content."""
        size = 1 << max(_SMALLEST, (length - 1).bit_length())
        spare = self._spare.get(size)
        if spare:
            self._spare_bytes -= size
            return spare.pop()
        return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """Keep a buffer of :meth:`take` for the next one who wants it, within bounds."""
        size = len(buffer)
        if self._spare_bytes + size <= _SPARE_BYTES:
            self._spare_bytes += size
            self._spare.setdefault(size, []).append(buffer)

    def count(self, owner: str, length: int) -> None:
        """Add ``length`` bytes, or take away what is negative."""
        held = self.by_owner.get(owner, 0) + length
        self.reserved += length
        if held:
            self.by_owner[owner] = held
        else:
            self.by_owner.pop(owner, None)


class Holding:
    """What one connection holds of the memory.

    Shares go by ``owner``, the initiator, so that more connections bring no more memory. An owner may hold as much as
    it leaves free: half when it is alone, a third when there are two, so that some is always left for another.
    """

    __slots__ = ("_buffers", "held", "owner")

    def __init__(self, buffers: Buffers, owner: str) -> None:
        self._buffers = buffers
        self.owner = owner
        self.held = 0

    def reserve(self, length: int) -> bool:
        """Hold ``length`` bytes more; False when they do not fit."""
        buffers = self._buffers
        free = buffers.limit - buffers.reserved - length
        if free < 0 or (buffers.reserved and buffers.by_owner.get(self.owner, 0) + length > free):
            return False
        self.claim(length)
        return True

    def claim(self, length: int) -> None:
        """Hold ``length`` bytes more without asking: what is there already, or is bounded in another way."""
        if length:
            self.held += length
            self._buffers.count(self.owner, length)

    def release(self, length: int) -> None:
        """Hold ``length`` bytes less."""
        self.claim(-length)

    def become(self, owner: str) -> None:
        """The owner is known now: what is held is his."""
        self._buffers.count(self.owner, -self.held)
        self.owner = owner
        self._buffers.count(owner, self.held)
