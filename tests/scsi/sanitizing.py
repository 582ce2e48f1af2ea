"""SANITIZE's CDBs and lists, and a disk that can change its key."""

from __future__ import annotations

import dataclasses
import struct

from .support import MemoryStore


def sanitize(action: int, length: int = 0) -> bytes:
    return struct.pack(">BB5xHx", 0x48, action, length)


def pattern(head: int, data: bytes) -> bytes:
    return struct.pack(">BxH", head, len(data)) + data


class EncryptedStore(MemoryStore):
    """A disk that says it can change its key, and then has noise where something was written."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.data[:] = b"\x11" * len(self.data)
        self.caps = dataclasses.replace(self.caps, crypto_erase=True)

    def crypto_erase(self) -> None:
        self._call("crypto_erase")
        self.data[:] = b"\x5c" * len(self.data)
