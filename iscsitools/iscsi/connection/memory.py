"""The engine's memory: one receive buffer for a loop, output chunks, and buffers for data-out, all within a budget.

Nothing here is allocated for an I/O: a fresh 256 KiB of memory costs the kernel more than the copy into it.
"""

from __future__ import annotations

import ctypes
from typing import Final

RECEIVE_SIZE: Final = 256 << 10
CHUNK_SIZE: Final = 1 << 20
_SPARE_CHUNKS: Final = 8
_SPARE_BYTES: Final = 16 << 20
_SMALLEST: Final = 16


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
    """The memory of all connections of one loop.

    ``limit`` bounds the bytes that commands off the fast path may hold at once; :meth:`reserve` says no beyond it, and
    the command then ends with BUSY. One owner may hold as much as it leaves free: half when it is alone, a third when
    there are two, so that some is always left for another.
    """

    def __init__(self, limit: int = 256 << 20) -> None:
        self.receive = bytearray(RECEIVE_SIZE)
        self.receive_view = memoryview(self.receive)
        self.receive_address = address_of(self.receive)
        self.limit = limit
        self.reserved = 0
        self._held: dict[object, int] = {}
        self._chunks: list[Chunk] = []
        self._spare: dict[int, list[bytearray]] = {}
        self._spare_bytes = 0

    def take_chunk(self) -> Chunk:
        """A chunk for output; give it back with :meth:`return_chunk` when all of it was sent."""
        return self._chunks.pop() if self._chunks else Chunk(CHUNK_SIZE)

    def return_chunk(self, chunk: Chunk) -> None:
        """Keep a chunk for the next one who wants it."""
        if len(self._chunks) < _SPARE_CHUNKS:
            self._chunks.append(chunk)

    def reserve(self, owner: object, length: int) -> bool:
        """Count ``length`` bytes of ``owner``, a connection, against the limit; False when they do not fit."""
        free = self.limit - self.reserved - length
        held = self._held.get(owner, 0)
        if free < 0 or (self.reserved and held + length > free):
            return False
        self.reserved += length
        self._held[owner] = held + length
        return True

    def release(self, owner: object, length: int) -> None:
        """Take back a reservation, or a part of it."""
        if length:
            self.reserved -= length
            self._held[owner] -= length
            if not self._held[owner]:
                del self._held[owner]

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
