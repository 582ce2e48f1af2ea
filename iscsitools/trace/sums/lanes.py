"""Arithmetic on many numbers at once: a column of them is one large integer, with a lane of its bits for each.

Hot: Python adds, subtracts and shifts such an integer at the speed of C, and makes no object for any number in it: half
the cost of going through them one by one. The first number of a column has the highest lane. Each function says why
nothing is carried or borrowed from a lane to the next.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

_BYTE: Final = 0xFF
_SHORT: Final = 4
_LONG: Final = 8
"""Bytes of a lane."""
_SIGN: Final = 1 << 63


@lru_cache(64)
def _all(number: int, count: int, size: int) -> int:
    """The same number in each of so many lanes of ``size`` bytes."""
    return int.from_bytes(number.to_bytes(size, "big") * count, "big")


@lru_cache(64)
def _ramp(count: int) -> int:
    """0, 1, 2 and so on, in short lanes."""
    return int.from_bytes(struct.pack(f">{count}I", *range(count)), "big")


def column(fields: bytes, mask: int) -> int:
    """Big-endian numbers of 8 bytes, or those of their bits that are in ``mask``."""
    return int.from_bytes(fields, "big") & _all(mask, len(fields) // _LONG, _LONG)


def ahead(begin: int, fields: bytes) -> bytes | None:
    """How far ``begin``, ``begin + 1`` and so on are ahead of the numbers in ``fields``, of 4 bytes each, big-endian.

    None: one of them by more than a byte holds, or is small enough that it might be.

    Where each difference is less than ``begin``, none has borrowed: it would be ``begin`` at least.
    """
    count = len(fields) // _SHORT
    if not _BYTE < begin <= 0xFFFFFFFF - count:
        return None
    difference = begin * _all(1, count, _SHORT) + _ramp(count) - int.from_bytes(fields, "big")
    if difference < 0 or difference & _all(0xFFFFFFFF - _BYTE, count, _SHORT):
        return None
    return difference.to_bytes(_SHORT * count, "big")[_SHORT - 1 :: _SHORT]


def distances(lbas: int, count: int, length: int, before: int) -> tuple[int, ...]:
    """From the end of each range, all ``length`` long, to the beginning of the next one; ``before``: the first end.

    Ends are less than 2**63, as disks are; so with one more bit in each lane nothing is borrowed, and that bit turned
    over is the sign.
    """
    signs = _all(_SIGN, count, _LONG)
    ends = lbas + _all(length, count, _LONG) >> 8 * _LONG | before << 8 * _LONG * (count - 1)
    return struct.unpack(f">{count}q", ((lbas | signs) - ends ^ signs).to_bytes(_LONG * count, "big"))


def last(lbas: int) -> int:
    """The last number."""
    return lbas & (1 << 8 * _LONG) - 1


def shares(lbas: int, count: int, shift: int) -> bytes | None:
    """The numbers divided by ``1 << shift``; None: one of them does not fit into 7 bits then.

    What is shifted out of a lane is masked out of the next one.
    """
    if lbas & _all((1 << 8 * _LONG) - (0x80 << shift), count, _LONG):
        return None
    return (lbas >> shift & _all(0x7F, count, _LONG)).to_bytes(_LONG * count, "big")[_LONG - 1 :: _LONG]
