"""Calls of a backstore that are asked for on the event loop and answered later: the asynchronous part of the contract.

A backstore that lists operations in ``Backstore.asynchronous`` gets each of them as a :class:`Request` by ``submit``,
which returns at once, and says ``request.complete()`` when it is done: from any thread, as a C library's callbacks
come (librados), or on the loop itself from ``reap``, when ``completion_fd`` could be read (io_uring, librbd's event
socket). Either way many completions cost one wake-up of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iscsitools.backstores.base import Backstore


class Operation(Enum):
    """What a request asks for; the values are the names of the blocking methods that do the same."""

    READ = "read_into"
    WRITE = "write"
    FLUSH = "flush"
    DISCARD = "discard"
    WRITE_ZEROES = "write_zeroes"
    COMPARE_AND_WRITE = "compare_and_write"


class MiscompareError(Exception):
    """The medium does not hold what COMPARE_AND_WRITE expects; ``index``: of the first byte that differs."""

    def __init__(self, index: int) -> None:
        super().__init__(f"byte {index} differs")
        self.index = index


_EMPTY = memoryview(b"")


class Request:
    """One call. ``offset`` and ``length`` are bytes, multiples of the block size, within the disk.

    ``buffer``: what READ fills and WRITE writes; lent until the request is complete. ``expected``: what
    COMPARE_AND_WRITE looks for, as long as ``buffer``. ``durable``: the write has to be on stable storage when it is
    complete. ``mark`` is the backstore's own, for whatever it wants to know of a request under way.
    """

    __slots__ = ("_report", "buffer", "durable", "expected", "length", "mark", "offset", "operation")

    def __init__(
        self, operation: Operation, offset: int = 0, length: int = 0, buffer: memoryview = _EMPTY,
        durable: bool = False, expected: memoryview = _EMPTY,
    ) -> None:  # fmt: skip
        self.operation = operation
        self.offset = offset
        self.length = length
        self.buffer = buffer
        self.durable = durable
        self.expected = expected
        self.mark: Any = None
        self._report: Callable[[Request, BaseException | None], object] | None = None

    def begin(self, report: Callable[[Request, BaseException | None], object]) -> None:
        """For the server: who is told of the completion, in whatever thread that comes."""
        self._report = report

    def complete(self, error: BaseException | None = None) -> None:
        """It is done, or has failed with ``error``, which is treated as if a blocking method had raised it.

        For any thread, within ``submit`` too. Returns at once and raises nothing. The buffers are the server's again.
        Called once; what comes after that is not looked at.
        """
        report, self._report = self._report, None
        if report is not None:
            report(self, error)

    def perform(self, store: Backstore) -> None:
        """Do it now, by the blocking methods; raises what they raise, and MiscompareError."""
        if self.operation is Operation.COMPARE_AND_WRITE:
            for step in self.steps():
                step.perform(store)
        elif self.operation is Operation.READ:
            store.read_into(self.offset, self.buffer)
        elif self.operation is Operation.WRITE:
            (store.write_through if self.durable else store.write)(self.offset, self.buffer)
        elif self.operation is Operation.FLUSH:
            store.flush()
        elif self.operation is Operation.DISCARD:
            store.discard(self.offset, self.length)
        else:
            store.write_zeroes(self.offset, self.length)

    def steps(self) -> Iterator[Request]:
        """COMPARE_AND_WRITE by requests of the simpler kinds, one after the other; raises MiscompareError.

        It is atomic because nothing else works on these blocks meanwhile.
        """
        found = memoryview(bytearray(self.length))
        yield read_request(self.offset, found)
        index = first_difference(found, self.expected)
        if index >= 0:
            raise MiscompareError(index)
        yield write_request(self.offset, self.buffer, self.durable)


def first_difference(one: bytes | memoryview, other: bytes | memoryview) -> int:
    """The index of the first byte that differs between two buffers of one length; -1: none does."""
    if one == other:
        return -1
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) - (difference.bit_length() + 7) // 8


def read_request(offset: int, buffer: memoryview) -> Request:
    """Fill ``buffer``."""
    return Request(Operation.READ, offset, len(buffer), buffer)


def write_request(offset: int, buffer: memoryview, durable: bool = False) -> Request:
    """Write ``buffer``."""
    return Request(Operation.WRITE, offset, len(buffer), buffer, durable)


def flush_request() -> Request:
    """Have what was written on stable storage."""
    return Request(Operation.FLUSH)
