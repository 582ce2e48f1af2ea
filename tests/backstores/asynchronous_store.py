"""A disk in memory with asynchronous calls in both ways there are: completed by a thread, or through an eventfd."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from iscsitools.backstores import values
from iscsitools.backstores.base import Capabilities, MiscompareError, Operation, Option, Request
from iscsitools.backstores.ram import RamBackstore
from iscsitools.hookspecs import hookimpl

ISCSITOOLS_API = 1
STORES: list[AsynchronousRam] = []
"""Those that are open, for tests that serve one in this process."""


class AsynchronousRam(RamBackstore):
    """Bytes in memory. ``way``: ``thread`` or ``eventfd``; ``compares``: it takes COMPARE AND WRITE as one call."""

    kind = "aram"
    summary = "memory, answered later"
    what = "SIZE"
    options = (Option("way", values.text, "thread", ""), Option("compares", values.yes_no, True, ""))

    def __init__(self, what: str, way: str = "thread", compares: bool = True) -> None:
        super().__init__(what)
        self.blocking = True
        self.way = way
        left_out = frozenset[Operation]() if compares else frozenset({Operation.COMPARE_AND_WRITE})
        self._operations = frozenset(Operation) - left_out
        self.submitted: list[Operation] = []
        self.blocking_calls: list[str] = []
        self.waiting: deque[Request] = deque()
        self.error: BaseException | None = None
        self._fd = -1
        self._go = threading.Condition()
        self._held = self._ends = False
        self._thread = threading.Thread(target=self._run, name="foreign", daemon=True)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(volatile_cache=True, thin=True)

    def open(self) -> None:
        super().open()
        STORES.append(self)
        if self.way == "eventfd":
            self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread.start()

    def close(self) -> None:
        with self._go:
            self._ends = True
            self._go.notify()
        self._thread.join()
        if self._fd >= 0:
            os.close(self._fd)
        STORES.remove(self)
        super().close()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.blocking_calls.append("read_into")
        super().read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        self.blocking_calls.append("write")
        super().write(offset, buffer)

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        return False

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        return False

    # The asynchronous calls

    @property
    def asynchronous(self) -> frozenset[Operation]:
        return self._operations

    def submit(self, request: Request) -> None:
        self.submitted.append(request.operation)
        with self._go:
            self.waiting.append(request)
            self._go.notify()

    def cancel(self, request: Request) -> bool:
        with self._go:
            if request in self.waiting:
                self.waiting.remove(request)
                return True
        return False

    @property
    def completion_fd(self) -> int:
        return self._fd

    def reap(self) -> None:
        os.eventfd_read(self._fd)
        while self.waiting:
            self._finish(self.waiting.popleft())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Complete nothing meanwhile."""
        with self._go:
            self._held = True
        yield
        self.release()

    def release(self) -> None:
        """Complete what waits, and what comes."""
        with self._go:
            self._held = False
            self._go.notify()

    def _run(self) -> None:
        while True:
            with self._go:
                self._go.wait_for(lambda: self._ends or (self.waiting and not self._held))
                if self._ends:
                    return
                if self._fd >= 0:
                    os.eventfd_write(self._fd, 1)
                    self._go.wait_for(lambda: self._ends or not self.waiting, timeout=0.001)
                    continue
                batch = [self.waiting.popleft() for _ in range(len(self.waiting))]
            for request in batch:
                self._finish(request)

    def _finish(self, request: Request) -> None:
        try:
            if self.error is not None:
                raise self.error
            self._do(request)
        except BaseException as error:
            request.complete(error)
        else:
            request.complete()

    def _do(self, request: Request) -> None:
        offset, length = request.offset, request.length
        if request.operation is Operation.READ:
            super().read_into(offset, request.buffer)
        elif request.operation is Operation.WRITE:
            super().write(offset, request.buffer)
        elif request.operation is Operation.DISCARD:
            super().discard(offset, length)
        elif request.operation is Operation.WRITE_ZEROES:
            super().write_zeroes(offset, length)
        elif request.operation is Operation.COMPARE_AND_WRITE:
            found = bytearray(length)
            super().read_into(offset, memoryview(found))
            for index, (one, other) in enumerate(zip(found, request.expected, strict=True)):
                if one != other:
                    raise MiscompareError(index)
            super().write(offset, request.buffer)


@hookimpl
def register_backstores(register) -> None:  # type: ignore[no-untyped-def]
    register(AsynchronousRam)
