"""The asynchronous calls of ``file``: by a ring, with the promises that the blocking ones make.

A call holds its range from ``submit`` until it has ended, as a thread's call does. What the ring cannot do now (another
holds the range, the kernel has no room, an operation that this file system's driver lacks) is done by a thread of its
own, by the blocking method.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from iscsitools.backstores.asynchronous import Operation, Request
from iscsitools.backstores.holes import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from iscsitools.backstores.ring import Ring, ring_of_this_thread
from iscsitools.backstores.syscalls import RWF_DSYNC

if TYPE_CHECKING:
    from iscsitools.backstores.file import FileBackstore
    from iscsitools.backstores.ranges import Hold

OPERATIONS: Final = frozenset(
    {Operation.READ, Operation.WRITE, Operation.FLUSH, Operation.DISCARD, Operation.WRITE_ZEROES}
)
NOTHING: Final = frozenset[Operation]()
_MODES: Final = {Operation.DISCARD: PUNCH_HOLE | KEEP_SIZE, Operation.WRITE_ZEROES: ZERO_RANGE | KEEP_SIZE}
_ANOTHER_WAY: Final = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOMEM, errno.ENODEV}
)
"""Errors that say something of the ring or of this kind of call, and nothing of the disk."""


class RingCalls:
    """The asynchronous side of one open file. All methods are for the event loop's thread."""

    def __init__(self, store: FileBackstore, fd: int, direct: bool) -> None:
        self._store = store
        self._fd = fd
        self._direct = direct
        self._ring: Ring | None = None

    @property
    def operations(self) -> frozenset[Operation]:
        """What :meth:`submit` takes: nothing where there is no ring."""
        if self._ring is None:
            self._ring = ring_of_this_thread()
        return NOTHING if self._ring is None else OPERATIONS

    @property
    def native(self) -> object:
        """The ring itself, for a data path."""
        return None if self._ring is None else self._ring.native

    @property
    def completion_fd(self) -> int:
        """The ring's."""
        return -1 if self._ring is None else self._ring.fd

    def reap(self) -> None:
        """Complete what is done, of all stores of this thread."""
        if self._ring is not None:
            self._ring.reap()

    def cancel(self, request: Request) -> None:
        """Have a read end soon that waits for the disk. Nobody could say what others would leave behind: they go on."""
        if self._ring is not None and request.operation is Operation.READ:
            self._ring.cancel(self._read, request)

    def close(self, witness: int) -> None:
        """Use the ring no more. With no call under way."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.leave(self._fd, witness)

    def submit(self, request: Request) -> None:
        """Begin a call; raises what the blocking method would raise before it does anything."""
        assert self._ring is not None
        operation = request.operation
        if operation is Operation.FLUSH:
            self._flush(self._ring, request)
            return
        hold = self._store.try_hold(request.offset, request.length, operation is not Operation.READ)
        if hold is None or (request.durable and not RWF_DSYNC):
            if hold is not None:
                hold.release()
            _elsewhere(self._store, request)
            return
        request.mark = hold
        try:
            self._begin(self._ring, request, operation)
        except OSError as error:
            _released(request)
            if error.errno not in _ANOTHER_WAY:
                raise
            _elsewhere(self._store, request)
        except BaseException:
            _released(request)
            raise

    def _begin(self, ring: Ring, request: Request, operation: Operation) -> None:
        store, offset = self._store, request.offset
        if operation is Operation.READ:
            ring.read(self._fd, offset, request.buffer, self._direct, self._read, request)
            return
        store.check_writable(offset, request.length)
        if operation is Operation.WRITE:
            if not request.durable:
                store.may_be_unflushed()
            flags = RWF_DSYNC if request.durable else 0
            ring.write(self._fd, offset, request.buffer, flags, self._direct, self._written, request)
        else:
            store.may_be_unflushed()
            ring.allocate(self._fd, _MODES[operation], offset, request.length, self._changed, request)

    def _flush(self, ring: Ring, request: Request) -> None:
        durability = self._store.durability
        request.mark = durability.begin_flush()
        try:
            ring.sync(durability.fd, self._flushed, request)
        except OSError:  # of the ring: the file has not been told to sync
            durability.not_begun(request.mark)
            request.mark = None
            _elsewhere(self._store, request)

    # -- what has ended

    def ended(self, request: Request, result: int) -> None:
        """The same of a call that a data path began; it holds no range, for it is counted otherwise."""
        (self._read if request.operation is Operation.READ else self._written)(request, result)

    def _read(self, request: Request, result: int) -> None:
        if result == request.length:
            _released(request).complete()
        elif self._did_not(request, result):
            _released(request).complete(self._store.ends_at(request.offset + max(0, result)))

    def _written(self, request: Request, result: int) -> None:
        if result == request.length:
            if not request.durable:
                self._store.may_be_unflushed()  # a flush may have begun and ended in between
            _released(request).complete()
        elif self._did_not(request, result):
            _released(request).complete()

    def _changed(self, request: Request, result: int) -> None:
        self._store.may_be_unflushed()
        if not result or self._did_not(request, result):
            _released(request).complete()

    def _did_not(self, request: Request, result: int) -> bool:
        """False: it has failed, and that is being seen to."""
        if result >= 0:
            return True
        error = OSError(-result, os.strerror(-result))
        if -result in _ANOTHER_WAY:
            _elsewhere(self._store, _released(request))
        elif request.durable:
            _in_a_thread(request, lambda: self._store.durable_write_failed(error, request.offset, request.buffer))
        else:
            _released(request).complete(error)
        return False

    def _flushed(self, request: Request, result: int) -> None:
        durability = self._store.durability
        doubt, request.mark = request.mark, None
        # Any error is final, as one of fdatasync(2): who could tell a ring's from a lost write?
        error = OSError(-result, os.strerror(-result)) if result < 0 else None
        if error is not None:
            durability.lose(error)
        request.complete(error or doubt)


def _released(request: Request) -> Request:
    hold: Hold | None = request.mark
    request.mark = None
    if hold is not None:
        hold.release()
    return request


def _elsewhere(store: FileBackstore, request: Request) -> None:
    """Do it by the blocking method."""
    _in_a_thread(request, lambda: request.perform(store))


def _in_a_thread(request: Request, work: Callable[[], None]) -> None:
    """Do ``work`` in a thread of its own, give back the range if it is held, and complete the request."""

    def run() -> None:
        failed: BaseException | None = None
        try:
            work()
        except BaseException as error:
            failed = error
        if request.mark is not None:
            _released(request)
        request.complete(failed)

    threading.Thread(target=run, name="file-call", daemon=True).start()
