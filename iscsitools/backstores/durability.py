"""What of a file's writes is on stable storage, and what is never believed again.

- **A flush that failed is final.** Linux reports a lost write once to each open file and marks the page clean, so that
  a second fdatasync would return success for data that never reached the disk.
- **Flushes go through a descriptor of their own.** A write that is to be durable, or on NFS any write, may be told of
  a loss that an earlier write suffered, and then the kernel takes it for reported: the flush after it would succeed.
  The second descriptor is told of every loss once more.
- **A durable write that finds no space may have brought such news** where earlier writes are still unflushed. Since
  nobody can say which it was, the next flush fails with it, once, whatever the kernel says to it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from array import array
from collections.abc import Callable
from typing import Final

from iscsitools.backstores.shortcut import UNFLUSHED

_log = logging.getLogger(__name__)

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def second_descriptor(fd: int) -> int:
    """Open the same file once more, for reading; raises OSError where the system cannot by the descriptor."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


class Durability:
    """The state of one open file. ``unflushed`` may be set by any thread; its flushes may come from any thread."""

    __slots__ = ("_doubt", "_fd", "_lock", "_path", "_when_lost", "_witness", "_words", "failed")

    def __init__(self, fd: int, path: str, when_lost: Callable[[], None], words: array[int]) -> None:
        self._fd = fd
        self._path = path
        self._when_lost = when_lost
        self._doubt: OSError | None = None
        self._lock = threading.Lock()
        self.failed: OSError | None = None
        """Why nothing is written any more: a flush failed with this."""
        self._words = words
        self.unflushed = True
        try:
            self._witness = second_descriptor(fd)
        except OSError:  # no /proc: what one descriptor tells has to do
            self._witness = -1

    @property
    def witness(self) -> int:
        """The second descriptor; -1: there is none."""
        return self._witness

    @property
    def unflushed(self) -> bool:
        """A write that has returned may not be durable. True at first: others may have written before."""
        return self._words[UNFLUSHED] != 0

    @unflushed.setter
    def unflushed(self, value: bool) -> None:
        self._words[UNFLUSHED] = value

    def close(self) -> None:
        """Close the second descriptor."""
        if self._witness >= 0:
            os.close(self._witness)
        self._witness = -1

    def check(self) -> None:
        """Raise EIO if a flush has failed."""
        if self.failed is not None:
            raise OSError(errno.EIO, f"{self._path}: writes may have been lost, for a flush failed: {self.failed}")

    @property
    def fd(self) -> int:
        """What is to be synced."""
        return self._witness if self._witness >= 0 else self._fd

    def flush(self, sync: Callable[[int], None]) -> None:
        """Make all durable by ``sync(fd)``; raises what it raises, and the disk is lost then."""
        doubt = self.begin_flush()
        try:
            sync(self.fd)
        except OSError as error:
            self.lose(error)
            raise
        if doubt is not None:
            raise doubt

    def begin_flush(self) -> OSError | None:
        """Before :attr:`fd` is synced. What this returns is the flush's error, even if the sync has none."""
        self.check()
        with self._lock:
            doubt, self._doubt = self._doubt, None
        self.unflushed = False  # before: a write from now on may come too late for this flush
        return doubt

    def not_begun(self, doubt: OSError | None) -> None:
        """Take :meth:`begin_flush` back: nothing was synced."""
        self.unflushed = True
        with self._lock:
            self._doubt = self._doubt or doubt

    def no_space(self, error: OSError) -> None:
        """A durable write, and then the plain one, found no space: see above what that may mean."""
        if self.unflushed:
            with self._lock:
                self._doubt = error

    def lose(self, error: OSError) -> None:
        """A flush, or a write that was to be durable, failed: nothing is believed from now on."""
        self.unflushed = True
        self.failed = error
        self._when_lost()
        _log.error(
            "%s: a flush failed (%s): written data may be lost. Writes and flushes of this disk fail until the file "
            "is opened again; reads go on",
            self._path, error.strerror or error,
        )  # fmt: skip
