"""Byte ranges of one file that several threads use: overlapping ones exclude each other where one of them changes it.

The kernel promises nothing here: a pread beside a pwrite of the same block may return a part of each (ext4 does), and
two long writes may leave a mixture.

Two kinds of callers meet. Threads *hold* a range for the time of a call and wait for those that came before them. The
event loop must not wait and must not pay for a lock: it sets :attr:`RangeLock.inline` to anything of its own, looks
whether somebody is in its way, and sets it back to None when its system call has returned. Both orders, the loop's
(announce, then look) and a thread's (enter the list, then look at ``inline``), are the same as in Dekker's algorithm,
which is sound because the interpreter runs one of them at a time. Data threads, which hold no lock of the interpreter,
look at the numbers of holds alone, and whoever enters the list waits until they have (:func:`.shortcut.settle`).
"""

from __future__ import annotations

import threading
import time
from array import array
from typing import Final

from iscsitools.backstores.shortcut import FLIGHTS, HOLDS, WRITE_FLIGHTS, WRITERS, file_words, settle

_FLIGHT: Final = 0.0002
"""Seconds between two looks at what is under way in a disk."""


class Hold:
    """One caller's range, from byte ``start`` to ``end``; ``exclusive``: it changes the bytes."""

    __slots__ = ("_lock", "end", "exclusive", "start")

    def __init__(self, lock: RangeLock, start: int, end: int, exclusive: bool) -> None:
        self._lock = lock
        self.start = start
        self.end = end
        self.exclusive = exclusive

    def conflicts(self, other: Hold) -> bool:
        """Whether the two may not be held at once."""
        return (self.exclusive or other.exclusive) and self.start < other.end and other.start < self.end

    def __enter__(self) -> None:
        self._lock.enter(self)

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the others go on. May be called from any thread."""
        self._lock.leave(self)


class RangeLock:
    """The ranges of one file that are held or waited for, in the order in which they came."""

    __slots__ = ("_changed", "_words", "holds", "inline")

    def __init__(self, words: array[int] | None = None) -> None:
        """``words``: of the file, where the numbers of holds are kept for all to see; see :mod:`.shortcut`."""
        self.inline: object = None
        """What the event loop is at, if it is in a call; only the loop's thread sets it."""
        self.holds: list[Hold] = []
        self._words = file_words() if words is None else words
        self._changed = threading.Condition()

    @property
    def writers(self) -> int:
        """How many of ``holds`` are exclusive: while there is none, nobody is in a reader's way."""
        return self._words[WRITERS]

    def _count(self, hold: Hold, more: int) -> None:
        self._words[HOLDS] += more
        self._words[WRITERS] += more * hold.exclusive

    def shared(self, offset: int, length: int) -> Hold:
        """A range to be read, for a ``with`` statement in a thread that may wait."""
        return Hold(self, offset, offset + length, exclusive=False)

    def exclusive(self, offset: int, length: int) -> Hold:
        """A range to be changed, for a ``with`` statement in a thread that may wait."""
        return Hold(self, offset, offset + length, exclusive=True)

    def try_hold(self, offset: int, length: int, changes: bool) -> Hold | None:
        """Hold a range if nobody is in the way; the caller releases it. For the event loop."""
        hold = Hold(self, offset, offset + length, changes)
        with self._changed:
            if self._words[self._flights(hold)] or any(other.conflicts(hold) for other in self.holds):
                return None
            self.holds.append(hold)
            self._count(hold, 1)
        settle()
        if self._words[self._flights(hold)]:  # a data thread has begun one in between
            self.leave(hold)
            return None
        return hold

    def in_the_way(self, offset: int, length: int, changes: bool) -> bool:
        """Whether a call of the event loop has to leave this range to a thread. Only worth a call if there are holds.

        Holds that still wait count too, so that a stream of calls on the loop cannot keep a thread waiting for ever.
        """
        wanted = Hold(self, offset, offset + length, changes)
        return any(other.conflicts(wanted) for other in tuple(self.holds))

    def enter(self, hold: Hold) -> None:
        """Wait for the holds that came before and conflict, and for the event loop's call under way."""
        with self._changed:
            self.holds.append(hold)
            self._count(hold, 1)
            self._changed.wait_for(lambda: self._is_free(hold))
            under_way = self.inline
        while under_way is not None and self.inline is under_way:
            time.sleep(0)  # one system call on cached pages: microseconds
        settle()
        while self._words[self._flights(hold)]:  # what a data path has in the ring; it begins no more while we hold
            time.sleep(_FLIGHT)

    @staticmethod
    def _flights(hold: Hold) -> int:
        """The word of those flights that may be in the way: which ranges they have, only the ring knows."""
        return FLIGHTS if hold.exclusive else WRITE_FLIGHTS

    def _is_free(self, hold: Hold) -> bool:
        for other in self.holds:
            if other is hold:
                return True
            if other.conflicts(hold):
                return False
        return True

    def leave(self, hold: Hold) -> None:
        """Take a hold off the list."""
        with self._changed:
            self.holds.remove(hold)
            self._count(hold, -1)
            self._changed.notify_all()
