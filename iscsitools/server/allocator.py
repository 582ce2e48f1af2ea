"""What the C library keeps of memory that was freed.

glibc gives a large block a mapping of its own, which freeing it ends. But with each mapping that is freed it takes that
size as the one from which it makes mappings, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD): from then on such blocks lie
in the heap, and one small block behind them that lives keeps all of them resident. Measured: 200 connections that read
nothing leave 64 MiB the first time, and 560 MiB from the second time on. A size that was set once stays.

What is needed for each I/O lies in stock (:mod:`iscsitools.iscsi.connection.memory`) and is not allocated.

Smaller blocks stay in the heap when they are free, and the next ones are taken from there: a flood of them leaves what
it took resident, for the blocks that live lie between. So when what initiators make the server hold has fallen from a
peak, the pages of free blocks are given back (malloc_trim(3)). Measured: 50 initiators that leave out one command have
6,300 of 8 KiB held, 52 MiB in the account and 118 MiB resident. When they have gone 80 to 87 MiB are resident, of 61
before; giving back takes 2 ms of CPU once and leaves 66.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_MAPPED_FROM: Final = 128 << 10
"""glibc's own value at the start. The smallest buffer that is not kept in stock for ever is of this size or larger."""
_HEAP_KEPT: Final = 1 << 20
"""Free bytes at the heap's end that are kept for the next allocations: without them it would grow and shrink all the
time, for a size that was set sets glibc's own 128 KiB for this one, too."""
_PEAK: Final = 16 << 20
"""Bytes held by initiators that are a flood worth a look at the whole heap afterwards."""


def give_back_freed_memory() -> bool:
    """Have large blocks go back to the system as they are freed, in this process; False where the C library has no say.

    That is where it is not glibc: others have no such threshold, or none that moves.
    """
    mallopt = _function("mallopt")
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _MAPPED_FROM) and mallopt(_TRIM_THRESHOLD, _HEAP_KEPT))


class HeapTrim:
    """Gives back what a flood has left free in the heap, once it is over; nothing where the C library cannot."""

    def __init__(self) -> None:
        self._trim = _function("malloc_trim")
        self._highest = 0

    def look(self, held: int) -> None:
        """``held``: bytes in the account now. Called every second or so."""
        self._highest = max(self._highest, held)
        if self._trim is not None and self._highest >= _PEAK and held <= self._highest // 4:
            self._highest = held
            self._trim(0)


def _function(name: str) -> Any:
    """One of the C library's; None: it has none of that name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
