"""A backstore whose library has asynchronous calls only: its blocking methods submit a request and wait for its end."""

from __future__ import annotations

import queue

from iscsitools.backstores.asynchronous import Operation, Request, flush_request, read_request, write_request
from iscsitools.backstores.backstore import Backstore

Ended = queue.SimpleQueue[BaseException | None]
"""Gets the error of a request, or None, when it is complete."""


class SubmittingBackstore(Backstore):
    """Has the blocking methods from ``submit``, which its author writes, with ``size`` and ``asynchronous``.

    What is not in ``asynchronous`` is done as :class:`~iscsitools.backstores.backstore.Backstore` does it; without
    FLUSH nothing is volatile, and a flush has nothing to do. So READ and WRITE have to be there.
    """

    def ask(self, request: Request) -> None:
        """Submit a request and wait for its end; raises its error. Not on the event loop, which others need."""
        ended: Ended = queue.SimpleQueue()
        request.begin(lambda _, error: ended.put(error))
        self.submit(request)
        self.await_end(ended)
        if (error := ended.get()) is not None:
            raise error

    def await_end(self, ended: Ended) -> None:
        """Return when ``ended`` has something, or at once where it comes by itself: in a thread of the library's."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read, in this thread."""
        self.ask(read_request(offset, buffer))

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write, in this thread."""
        self.ask(write_request(offset, buffer))

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write, and return when it is on stable storage."""
        self.ask(write_request(offset, buffer, durable=True))

    def flush(self) -> None:
        """Have all that was written before on stable storage."""
        if Operation.FLUSH in self.asynchronous:
            self.ask(flush_request())

    def discard(self, offset: int, length: int) -> None:
        """Have the range read as zeros, and take no space where that can be."""
        if Operation.DISCARD in self.asynchronous:
            self.ask(Request(Operation.DISCARD, offset, length))
        else:
            super().discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make the range zeros."""
        if Operation.WRITE_ZEROES in self.asynchronous:
            self.ask(Request(Operation.WRITE_ZEROES, offset, length))
        else:
            super().write_zeroes(offset, length)
