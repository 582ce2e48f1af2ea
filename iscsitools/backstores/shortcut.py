"""What a backstore offers to a data path outside Python: its bytes without a call, and the words that say when.

A :class:`Shortcut` is a promise: while the words allow it, the bytes may be read and written by the system calls, or
the copies, that ``try_read_into`` and ``try_write`` of the backstore would make, by a thread that holds the
interpreter's lock from the look at the words to the end of the call. Where the words say no, those methods are asked.

The words are signed 64-bit numbers in one array, so that code in C reads and sets them where they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final, NamedTuple

# Of "file", by position. NO_WRITE_BEFORE: monotonic nanoseconds.
FD: Final = 0
READ_FLAGS: Final = 1
"""Flags for preadv2(2); -1: nothing is read on the loop."""
NO_WRITE_BEFORE: Final = 2
"""The first monotonic nanosecond at which something is written on the loop."""
UNFLUSHED: Final = 3
"""1: a write that has returned may not be durable."""
WRITERS: Final = 4
"""How many holds of the range lock are exclusive; while there are any, a read has to ask."""
HOLDS: Final = 5
"""How many holds there are; while there are any, a write has to ask."""
# Of "ram".
SIZE: Final = 0
"""Bytes of the disk."""


class Shortcut(NamedTuple):
    """An offer. ``kind``: "file", "ram" or "null"; ``words``: as above; the rest is for the kinds that have it."""

    kind: str
    words: array[int]
    chunks: dict[int, bytearray] | None = None
    """Of "ram": the chunks of 1 MiB that there are, by number."""
    slow: Callable[[int, int], None] | None = None
    """Of "file": called when a write has taken 20 ms, with its begin and end in monotonic nanoseconds."""


def file_words() -> array[int]:
    """The words of a file that is not open."""
    return array("q", [-1, -1, 1 << 62, 1, 0, 0])
