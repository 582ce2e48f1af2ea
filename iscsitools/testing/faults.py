"""The fault matrix: every call of a filter, over a disk that fails it in every way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from iscsitools.backstores.base import Backstore, Filter, MediumError, Operation, Request
from iscsitools.backstores.filters.watching import WatchingFilter
from iscsitools.backstores.ram import RamBackstore
from iscsitools.testing.store_calls import call, read

_BLOCKS: Final = 64
_CALLS: Final = ("read_into", "write", "write_through", "flush", "discard", "write_zeroes")
_BELOW: Final = ("read_into", "write", "write_through", "flush", "discard", "write_zeroes")


def _oserror(number: int) -> OSError:
    return OSError(number, os.strerror(number))


FAULTS: Final[tuple[BaseException, ...]] = (
    *(_oserror(number) for number in (errno.EIO, errno.ENOSPC, errno.EROFS, errno.ENODEV, errno.ETIMEDOUT)),
    MediumError("this block cannot be had", 8 * 512),
    MemoryError("no memory"),
    ValueError("a defect"),
    SystemExit(3),
)


class FailingStore(WatchingFilter):
    """A disk in memory that raises ``fault`` from the calls that ``failing`` names, and does nothing then."""

    def __init__(self, fault: BaseException, size: int = _BLOCKS * 512) -> None:
        super().__init__(RamBackstore(str(size)))
        self.blocking = True
        self.fault = fault
        self.failing: frozenset[str] = frozenset()
        self.raised = 0

    def _fail(self, name: str) -> None:
        if name in self.failing:
            self.raised += 1
            raise self.fault

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fail or read."""
        self._fail("read_into")
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Fail or write."""
        self._fail("write")
        self.inner.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Fail or write durably."""
        self._fail("write_through")
        self.inner.write_through(offset, buffer)

    def flush(self) -> None:
        """Fail or flush."""
        self._fail("flush")
        self.inner.flush()

    def discard(self, offset: int, length: int) -> None:
        """Fail or discard."""
        self._fail("discard")
        self.inner.discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Fail or write zeros."""
        self._fail("write_zeroes")
        self.inner.write_zeroes(offset, length)

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        """Leave it to a thread."""
        return False

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Leave it to a thread."""
        return False


class FailingAsynchronousStore(FailingStore):
    """The same, of which every call but the blocking ones of a filter is asynchronous. ``submits``: it raises there."""

    submits = False

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """All of them."""
        return frozenset(Operation)

    def submit(self, request: Request) -> None:
        """Do it, and complete it with what came of it."""
        try:
            request.perform(self)
        except BaseException as error:
            if self.submits:
                raise
            request.complete(error)
        else:
            request.complete()


class _FailsInSubmit(FailingAsynchronousStore):
    submits = True


def check_faults(make: Callable[[Backstore], Filter], more: int = 0) -> int:
    """Try every call of the filter that ``make`` puts over a disk, while each call below fails with each of FAULTS.

    The disk below is called by methods, and asynchronously: then it completes with the fault, or ``submit`` raises it.
    What the disk raises comes out of the filter, itself or as another exception; when nothing came out, nothing may
    have been asked of the failing call. Afterwards the blocks beside those of the call are as they were, and when the
    disk is well again, so is the filter. ``more``: bytes that the filter takes of the disk for itself. Returns how many
    failures there were.
    """
    failures = 0
    for fault in FAULTS:
        for below in _BELOW:
            for above in _CALLS:
                for kind in (FailingStore, FailingAsynchronousStore, _FailsInSubmit):
                    failures += _try(make, kind(fault, _BLOCKS * 512 + more), below, above)
    return failures


def _try(make: Callable[[Backstore], Filter], disk: FailingStore, below: str, above: str) -> int:
    store = make(disk)
    where = f"check_faults: {above} over a {below} that raises {disk.fault!r} ({type(disk).__name__})"
    store.open()
    try:
        before = bytes(range(1, _BLOCKS + 1)) * 512
        call(store, "write", 0, memoryview(before))
        call(store, "flush")
        disk.failing = frozenset({below})
        came_out = _outcome(store, above)
        assert came_out is not None or not disk.raised, f"{where}: no exception came out"
        disk.failing = frozenset()
        found = read(store, 0, _BLOCKS * 512)
        assert found[: 8 * 512] == before[: 8 * 512], f"{where}: blocks before those of the call have changed"
        assert found[16 * 512 :] == before[16 * 512 :], f"{where}: blocks after those of the call have changed"
        call(store, "write", 0, memoryview(before[::-1]))
        call(store, "flush")
        assert read(store, 0, _BLOCKS * 512) == before[::-1], f"{where}: a write after it is not there"
    finally:
        store.close()
    return disk.raised


def _outcome(store: Backstore, name: str) -> BaseException | None:
    """What a call to blocks 8 to 15 raises."""
    arguments: tuple[object, ...] = ()
    if name == "read_into":
        arguments = (8 * 512, memoryview(bytearray(8 * 512)))
    elif name in ("write", "write_through"):
        arguments = (8 * 512, memoryview(b"n" * 8 * 512))
    elif name in ("discard", "write_zeroes"):
        arguments = (8 * 512, 8 * 512)
    try:
        call(store, name, *arguments)
    except BaseException as error:
        return error
    return None
