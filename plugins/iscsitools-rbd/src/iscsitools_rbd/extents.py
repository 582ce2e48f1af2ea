"""What of an image has data and what is a hole, as its object map says, or else its objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from iscsitools.backstores.base import Allocation, Extent, Operation

from iscsitools_rbd.binding_calls import refusal
from iscsitools_rbd.ceph import modules

_PIECE: Final = 1 << 30
"""Bytes that are asked for at once."""


def extents_of(image: Any, offset: int, length: int, block: int) -> Iterator[Extent]:
    """The extents of a range, in order and without gaps, in whole blocks. ``image``: the binding's; raises OSError."""
    end = offset + length
    while offset < end:
        piece = min(_PIECE, end - offset)
        yield from _piece(image, offset, piece, block)
        offset += piece


def _piece(image: Any, offset: int, length: int, block: int) -> Iterator[Extent]:
    found: list[tuple[int, int]] = []
    try:
        image.diff_iterate(
            offset, length, None, lambda at, n, there: found.append((at, n)) if there else None, True,
            _has_fast_diff(image),
        )  # fmt: skip
    except modules()[1].Error as error:
        raise refusal(error, Operation.READ) from None
    at, end = offset, offset + length
    for start, size in sorted(found):
        first = max(at, start // block * block)
        last = min(end, -(-(start + size) // block) * block)
        if first > at:
            yield Extent(at, first - at, Allocation.HOLE)
        if last > first:
            yield Extent(first, last - first, Allocation.MAPPED)
            at = last
    if at < end:
        yield Extent(at, end - at, Allocation.HOLE)


def _has_fast_diff(image: Any) -> bool:
    _, rbd = modules()
    return bool(image.features() & rbd.RBD_FEATURE_FAST_DIFF and not image.flags() & rbd.RBD_FLAG_FAST_DIFF_INVALID)
