"""Medium work in pieces: others get their turn between two of them, and an abort ends it at the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iscsitools.backstores.base import Backstore, Request
from iscsitools.scsi.core.executor import PIECE, Steps

_LIGHT_PIECE: Final = 8 << 20
_BLOCKING_PIECE: Final = 1 << 30


def in_pieces(request: Callable[[int, int], Request], offset: int, length: int, size: int = PIECE) -> Steps:
    """``request(offset, length)`` for each piece of a range.

    Pieces end at multiples of ``size``, so that no cluster of a backstore is cut.
    """
    at, end = offset, offset + length
    while at < end:
        n = min(size - at % size, end - at)
        yield request(at, n)
        at += n


def light_piece(store: Backstore) -> int:
    """The bytes that are zeroed or given back at a time: where a thread does it, only an abort wants it to end."""
    return _BLOCKING_PIECE if store.blocking else _LIGHT_PIECE
