"""What the C library keeps of memory that was freed.

glibc gives a large block a mapping of its own, which freeing it ends. But with each mapping that is freed it takes that
size as the one from which it makes mappings, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD): from then on such blocks lie
in the heap, and one small block behind them that lives keeps all of them resident. Measured: 200 connections that read
nothing leave 64 MiB the first time, and 560 MiB from the second time on. A size that was set once stays.

What is needed for each I/O lies in stock (:mod:`iscsitools.iscsi.connection.memory`) and is not allocated.

Smaller blocks stay in the heap when they are free, and the next ones are taken from there. Measured: 50 initiators that
leave out one command have 6,300 of 8 KiB held, 52 MiB in the account and 114 MiB resident. When they have gone, the
account is at 0, the heap has 11 MiB in use as before and 44 MiB free, and 108 MiB are resident; after the second and
third time 102 and 100 MiB. So this is bounded by ``buffer_memory`` and no leak. Of 200 connections that read nothing,
263 MiB resident, only the stock of 8 MiB of chunks and 2 MiB of heap stay.
"""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_MAPPED_FROM: Final = 128 << 10
"""glibc's own value at the start. The smallest buffer that is not kept in stock for ever is of this size or larger."""
_HEAP_KEPT: Final = 1 << 20
"""Free bytes at the heap's end that are kept for the next allocations: without them it would grow and shrink all the
time, for a size that was set sets glibc's own 128 KiB for this one, too."""


def give_back_freed_memory() -> bool:
    """Have large blocks go back to the system as they are freed, in this process; False where the C library has no say.

    That is where it is not glibc: others have no such threshold, or none that moves.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MAPPED_FROM) and mallopt(_TRIM_THRESHOLD, _HEAP_KEPT))
