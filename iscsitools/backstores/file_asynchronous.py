"""What the ``file`` backstore does without a thread of ours: its calls by the ring, and those of a data path in C."""

from __future__ import annotations

import os

from iscsitools.backstores.base import Operation, Request
from iscsitools.backstores.direct import DirectIo
from iscsitools.backstores.file_at_once import CallsAtOnce
from iscsitools.backstores.file_open import open_apart
from iscsitools.backstores.file_ring import NOTHING, RingCalls
from iscsitools.backstores.ranges import Hold
from iscsitools.backstores.shortcut import FD, OWN_FDS, READ_FLAGS, THREAD_FILES, Shortcut, is_shared, threads


class AsynchronousFile(CallsAtOnce):
    """The part of :class:`~iscsitools.backstores.file.FileBackstore` that begins calls and is told when they end.

    Whoever opens the file sets ``_calls``, and ``_io`` if it passes by the page cache.
    """

    def __init__(self) -> None:
        super().__init__()
        self._io: DirectIo | None = None
        self._calls: RingCalls | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the calls are those of ``file`` itself."""
        raise NotImplementedError  # abstract

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """Those of the ring, where there is one; of a class that derives from this one none, for it may change them."""
        return self._calls.operations if self._calls is not None and self.is_plain else NOTHING

    def submit(self, request: Request) -> None:
        """By the ring."""
        assert self._calls is not None
        self._calls.submit(request)

    def cancel(self, request: Request) -> bool:
        """Have a read end soon; it completes all the same."""
        if self._calls is not None:
            self._calls.cancel(request)
        return False

    @property
    def completion_fd(self) -> int:
        """The ring's, which other stores may have too."""
        return -1 if self._calls is None else self._calls.completion_fd

    def reap(self) -> None:
        """Complete what is done in the ring."""
        if self._calls is not None:
            self._calls.reap()

    def try_hold(self, offset: int, length: int, changes: bool) -> Hold | None:
        """Hold a range for a call that has begun, if nobody is in the way."""
        return self._ranges.try_hold(offset, length, changes)

    def may_be_unflushed(self) -> None:
        """Something is being, or was, written that is not durable."""
        self.durability.unflushed = True

    def shortcut(self) -> Shortcut | None:
        """The descriptor, while what :meth:`try_read_into` and :meth:`try_write` look at allows it."""
        if not self.is_plain:
            return None
        ring = self._calls.native if self.asynchronous and self._calls is not None else None
        if is_shared():
            self._leave_to_threads()
            self._open_apart()
        if self._io is not None and ring is None:
            return None
        return Shortcut(self.kind, self._words, slow=self._spare_the_loop, ring=ring, ended=self._ended)

    def _open_apart(self) -> None:
        """Have each data thread read by a descriptor of its own."""
        if self._words[OWN_FDS] < 0 and self._words[READ_FLAGS] >= 0:
            for number, fd in enumerate(open_apart(self._words[FD], min(threads(), THREAD_FILES))):
                self._words[OWN_FDS + number] = fd

    def _close_apart(self) -> None:
        """Nobody reads any more."""
        for number in range(OWN_FDS, OWN_FDS + THREAD_FILES):
            if self._words[number] >= 0:
                os.close(self._words[number])
                self._words[number] = -1

    def _ended(self, request: Request, result: int) -> None:
        """A call of a data path has ended that became a request meanwhile."""
        assert self._calls is not None
        self._calls.ended(request, result)
