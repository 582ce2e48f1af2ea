"""What a backstore offers to a data path outside Python: its bytes without a call, and the words that say when.

A :class:`Shortcut` is a promise: while the words allow it, the bytes may be read and written by the system calls, or
the copies, that ``try_read_into`` and ``try_write`` of the backstore would make. Who does so either holds the
interpreter's lock from the look at the words to the end of the call, and asks those methods where the words say no; or
is a data thread, which holds no lock. A backstore that closes something to them by its words has to wait until they
have seen it (:func:`settle`). Data threads and the data path of the event loop exclude each other where bytes overlap.

The words are signed 64-bit numbers in one array, so that code in C reads and sets them where they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from mmap import mmap
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from iscsitools.backstores.asynchronous import Request

# Of "file", by position. NO_WRITE_BEFORE: monotonic nanoseconds.
FD: Final = 0
READ_FLAGS: Final = 1
"""Flags for preadv2(2); -1: nothing is read on the loop."""
NO_WRITE_BEFORE: Final = 2
"""The first monotonic nanosecond at which something is written on the loop."""
NO_WRITES: Final = 1 << 62
"""The time that never comes: of a file that is not written, and of one on which a flush has failed."""
UNFLUSHED: Final = 3
"""1: a write that has returned may not be durable."""
WRITERS: Final = 4
"""How many holds of the range lock are exclusive; while there are any, a read has to ask."""
HOLDS: Final = 5
"""How many holds there are; while there are any, a write has to ask."""
DIRECT: Final = 6
"""1: it was opened O_DIRECT, so that nothing is read or written at once."""
DURABLE_FLAGS: Final = 7
"""Flags for pwritev2(2) that make a write durable; 0: there are none."""
FLIGHTS: Final = 8
"""How many calls of data paths are under way in rings, beside those that ``submit`` began. While there are any, who
would change the file has to see that they are not in his way."""
WRITE_FLIGHTS: Final = 9
"""How many of them write; while there are any, who would read has to see that."""
OWN_FDS: Final = 10
"""From here on THREAD_FILES descriptors for data threads that read, each of them the file opened once more, or -1: what
reads through one open file waits for its counters. A thread has one by its number, or FD."""
THREAD_FILES: Final = 8
# Of "ram".
SIZE: Final = 0
"""Bytes of the disk."""
ALONE: Final = 1
"""How many calls want to be alone with the bytes; while there are any, no data thread touches them."""

Settle = Callable[[], None]
Forget = Callable[[int], None]
_settle: Settle | None = None
_threads = 0


def _nobody(_fd: int) -> None:
    """No data thread has the file."""


_forget: Forget = _nobody


def share(settle: Settle | None, threads: int = 0, forget: Forget = _nobody) -> None:
    """So many data threads use shortcuts from now on; None: they do so no more.

    ``settle`` returns when each of them has ended what it was at when that was called; ``forget`` has their rings let
    go of a descriptor.
    """
    global _settle, _threads, _forget
    _settle = settle
    _threads = threads
    _forget = forget


def is_shared() -> bool:
    """Whether data threads use shortcuts."""
    return _settle is not None


def threads() -> int:
    """How many there are."""
    return _threads


def settle() -> None:
    """Wait until data threads have ended what they began before words were changed. From any thread of Python."""
    if _settle is not None:
        _settle()


def forget(fd: int) -> None:
    """A descriptor is going to be closed: have the rings of data threads let go of its file. They use it no more."""
    _forget(fd)


class Alone:
    """A call that no data thread may be beside: a context. Only for the event loop's thread, while they are there."""

    __slots__ = ("_words",)

    def __init__(self, words: array[int]) -> None:
        self._words = words

    def __enter__(self) -> None:
        if _settle is not None:
            self._words[ALONE] += 1
            _settle()

    def __exit__(self, *exception: object) -> None:
        if self._words[ALONE]:
            settle()  # so that who finds the word 0 sees what was done
            self._words[ALONE] -= 1


class Shortcut(NamedTuple):
    """An offer. ``kind``: "file", "ram", "null" or "carrier"; ``words``: as above; the rest: for who has it."""

    kind: str
    words: array[int]
    chunks: dict[int, bytearray] | None = None
    """Of "ram": the chunks of 1 MiB that there are, by number."""
    slow: Callable[[int, int], None] | None = None
    """Of "file": called when a write has taken 20 ms, with its begin and end in monotonic nanoseconds."""
    places: mmap | None = None
    """Of "ram": of each of its first chunks the address of the first byte, or 0; 64-bit numbers."""
    ring: object = None
    """Of "file": the ring of this thread (``iscsitools.datapath._native.Ring``), by which what waits for the disk may
    be done; of "carrier": that (:mod:`.carrier`). What is under way there is counted in FLIGHTS."""
    ended: Callable[[Request, int], None] | None = None
    """Of both: called for a call that became a request meanwhile, with how it ended: bytes, or a negative errno."""


def file_words() -> array[int]:
    """The words of a file that is not open."""
    return array("q", [-1, -1, NO_WRITES, 1, 0, 0, 0, 0, 0, 0, *[-1] * THREAD_FILES])
