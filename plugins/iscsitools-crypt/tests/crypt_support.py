"""What the tests share."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.backstores.base import Backstore

BLOCKS = 64 << 10
"""Bytes of a disk behind its header."""

TEXT = (b"What nobody else may read. " * 700)[:16384]

Open = Callable[..., Backstore]


def read(store: Backstore, offset: int, length: int) -> bytes:
    buffer = bytearray(b"\xa5" * length)
    store.read_into(offset, memoryview(buffer))
    return bytes(buffer)
