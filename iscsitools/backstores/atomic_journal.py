"""Writes that are whole or not at all after a power cut, whatever the backstore: a journal of one record.

The order, each step durable before the next:

1. The data, as its disk seals it, and where it belongs go to the journal. A record that is not whole, by its digest, is
   none.
2. The data goes to its place.
3. The record is made void, so that it never replaces what is written later.

A power cut before 1 is done leaves the old data; after that :meth:`AtomicJournal.recover` does 2 and 3 again.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from typing import Final

from iscsitools.backstores.base import Backstore

LONGEST: Final = 1 << 20
"""Bytes of one write."""
SIZE: Final = 4096 + LONGEST
"""Bytes that a journal takes."""
_SECTOR: Final = 512
_DATA_AT: Final = 4096
_HEAD: Final = struct.Struct(">16sQI32s")
_MAGIC: Final = b"iscsitools atom1"


class AtomicJournal:
    """The journal of one disk. ``place``: an open backstore of SIZE bytes that only this uses."""

    def __init__(self, place: Backstore) -> None:
        self._place = place
        self._lock = threading.Lock()

    def write(self, store: Backstore, offset: int, data: memoryview) -> None:
        """Write, durably and as a whole. Raises what either of the two stores raises; then it may be there in part."""
        sealed = store.seal(offset, data)
        with self._lock:
            self._place.write(_DATA_AT, _in_sectors(sealed))
            head = _HEAD.pack(_MAGIC, offset, len(sealed), _digest(offset, sealed))
            self._place.write(0, _in_sectors(memoryview(head)))
            self._place.flush()
            try:
                store.write_through(offset, data)
            finally:
                self._make_void()

    def recover(self, store: Backstore) -> int:
        """Finish the write that a power cut has broken off; returns its length in bytes, 0: there was none.

        For the time before anybody uses the disk. Raises OSError when the write lies beyond its end, or fails.
        """
        head = memoryview(bytearray(_SECTOR))
        self._place.read_into(0, head)
        magic, offset, length, digest = _HEAD.unpack_from(head)
        if magic != _MAGIC or not 0 < length <= LONGEST:
            return 0
        buffer = memoryview(bytearray(-(-length // _SECTOR) * _SECTOR))
        self._place.read_into(_DATA_AT, buffer)
        data = buffer[:length]
        if _digest(offset, data) != digest:
            return 0  # step 1 was not done
        store.write_through(offset, store.unseal(offset, data))
        self._make_void()
        return int(length)

    def _make_void(self) -> None:
        self._place.write(0, memoryview(bytes(_SECTOR)))
        self._place.flush()


def _digest(offset: int, data: memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=32, salt=offset.to_bytes(16, "big")).digest()


def _in_sectors(data: memoryview) -> memoryview:
    missing = -len(data) % _SECTOR
    return memoryview(bytes(data) + bytes(missing)) if missing else data
