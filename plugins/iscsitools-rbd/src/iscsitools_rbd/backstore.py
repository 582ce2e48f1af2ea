"""The ``rbd`` backstore: an image of Ceph, by librbd's asynchronous calls."""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
from collections.abc import Iterator
from typing import Any, Final

from iscsitools.backstores import values
from iscsitools.backstores.base import (
    Allocation,
    Backstore,
    BackstoreError,
    Capabilities,
    Extent,
    Operation,
    Option,
    Request,
)

from iscsitools_rbd.ceph import Account, connect, failure, modules, reason
from iscsitools_rbd.names import ImageName
from iscsitools_rbd.patience import Patience

_ASYNCHRONOUS: Final = frozenset(Operation) - {Operation.COMPARE_AND_WRITE}
_PIECE: Final = 1 << 30
"""Bytes of which the extents are asked for at once."""
_LOOK: Final = 0.25
"""Seconds between two looks for requests whose time is over, and at the size."""


class RbdBackstore(Backstore):
    """``rbd:POOL/IMAGE[@SNAPSHOT]``: a disk that lies in Ceph.

    Calls are librbd's asynchronous ones, and the blocking methods wait for those: no thread per call. librbd copies
    what it writes before the call returns, and its callbacks only note that a request is complete.
    """

    kind = "rbd"
    summary = "an image of Ceph (RBD)"
    what = "POOL/IMAGE[@SNAPSHOT]"
    options = (
        Option("conf", values.path, "", "Ceph's configuration file instead of the usual one"),
        Option("user", values.text, "admin", "the Ceph user, without client."),
        Option("wait", values.duration, 20.0, "how long a command waits for Ceph before it gets BUSY"),
        Option("connect_wait", values.duration, 10.0, "how long to wait for a monitor at the start"),
        Option("client_cache", values.yes_no, False, "librbd's write-back cache, which a flush empties"),
    )

    def __init__(self, what: str, **options: Any) -> None:
        chosen = {option.name: options.get(option.name, option.default) for option in self.options}
        try:
            self.name = ImageName.parse(what)
        except ValueError as error:
            raise BackstoreError(f"rbd: {error}") from None
        if chosen["wait"] <= 0 or chosen["connect_wait"] <= 0:
            raise BackstoreError("rbd: wait and connect_wait have to be more than 0")
        self._account = Account(chosen["conf"], chosen["user"], chosen["connect_wait"])
        self._settings = {
            "rbd_cache": "true" if chosen["client_cache"] else "false",
            "rbd_skip_partial_discard": "false",  # UNMAP of any blocks makes them zeros
        }
        self._patience = Patience(chosen["wait"])
        self._cluster: Any = None
        self._pool: Any = None
        self._image: Any = None
        self._size = 0
        self._cached = False
        self._identity = ""
        self._shut_out = False
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    # Opening

    def open(self) -> None:
        """Connect a client of this disk's own, and open the image."""
        self._cluster = connect(self._account, self._settings)
        try:
            self._open_image()
        except BackstoreError:
            self._cluster.shutdown()
            raise
        for work in (self._look_after_requests, self._look_after_size):
            thread = threading.Thread(target=work, name=f"rbd-{work.__name__[12:]}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _open_image(self) -> None:
        rados, rbd = modules()
        name = self.name
        self.read_only = self.read_only or bool(name.snapshot)
        try:
            self._pool = self._cluster.open_ioctx(name.pool)
            self._pool.set_namespace(name.namespace)
            self._image = rbd.Image(self._pool, name.image, snapshot=name.snapshot or None, read_only=self.read_only)
            self._size = self._image.size()
            self._cached = self._setting("rbd_cache") == "true"
            self._identity = self._find_identity()
        except (rados.Error, rbd.Error) as error:
            raise BackstoreError(f"rbd: {name}: {reason(error)}") from None

    def _setting(self, name: str) -> str:
        """What is in force for the image, which may have settings of its own in the pool."""
        return next((str(option["value"]) for option in self._image.config_list() if option["name"] == name), "")

    def _find_identity(self) -> str:
        """Cluster, pool and image by their ids, which no renaming changes; a snapshot is another disk."""
        image = self._image.id() or self.name.image
        identity = f"rbd:{self._cluster.get_fsid()}/{self._pool.get_pool_id()}/{self.name.namespace}/{image}"
        if self.name.snapshot:
            identity += f"@{self._image.snap_get_id(self.name.snapshot)}"
        return identity

    def close(self) -> None:
        """Close the image, which gives its lock back, and the client."""
        self._closing.set()
        if not self._shut_out and not self._patience.late:  # librbd would wait for Ceph without an end
            with contextlib.suppress(modules()[1].Error):
                self._image.close()
            self._pool.close()
            self._cluster.shutdown()
        for thread in self._threads:
            thread.join(timeout=1)

    # What it is

    @property
    def size(self) -> int:
        """As Ceph said it last."""
        return self._size

    @property
    def capabilities(self) -> Capabilities:
        """Thin; volatile only with librbd's cache, for an answered write lies on all OSDs else."""
        return Capabilities(
            read_only=self.read_only, volatile_cache=self._cached and not self.read_only, thin=not self.read_only
        )

    @property
    def own_identity(self) -> str:
        """The ids of cluster, pool, image and snapshot."""
        return self._identity

    @property
    def trouble(self) -> str:
        """That Ceph does not answer, or has shut this client out."""
        if self._shut_out:
            return "Ceph has shut this client out"
        late = self._patience.waiting_for
        return f"Ceph has not answered for {late:.0f} s" if late else ""

    def _look_after_requests(self) -> None:
        while not self._closing.wait(_LOOK):
            self._patience.look()

    def _look_after_size(self) -> None:
        """Notice a new size, which librbd learns from Ceph by itself. It may wait for Ceph."""
        while not self._closing.wait(_LOOK):
            try:
                size = self._image.size()
            except modules()[1].Error:
                continue
            if size != self._size and not self._closing.is_set():
                self._size = size
                self.host.size_changed()

    # Asynchronous calls

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """All but COMPARE AND WRITE, which librbd's binding has not: it is a read and a write."""
        return _ASYNCHRONOUS

    def submit(self, request: Request) -> None:
        """Send a request to librbd."""
        operation, offset, length = request.operation, request.offset, request.length
        if operation is not Operation.READ and operation is not Operation.FLUSH and self.read_only:
            request.complete(OSError(errno.EROFS, f"{self.name} is read-only"))
            return
        if not self._patience.begin(request):
            return
        image = self._image
        try:
            if operation is Operation.READ:
                image.aio_read(offset, length, lambda done, data: self._read(request, done, data))
            elif operation is Operation.WRITE:
                image.aio_write(bytes(request.buffer), offset, lambda done: self._written(request, done))
            elif operation is Operation.FLUSH:
                image.aio_flush(lambda done: self._done(request, done))
            elif operation is Operation.DISCARD:
                image.aio_discard(offset, length, lambda done: self._done(request, done))
            else:
                image.aio_write_zeroes(offset, length, lambda done: self._done(request, done))
        except BaseException as error:
            self._patience.end(request)
            raise self._refused(error, operation) from None

    def _refused(self, error: BaseException, operation: Operation) -> BaseException:
        code = getattr(error, "errno", None)
        return (failure(-code, operation.name) or error) if isinstance(code, int) and code else error

    def _read(self, request: Request, done: Any, data: bytes | None) -> None:
        """Called in a thread of librbd, as the next ones are."""
        if not self._patience.end(request):
            return
        code = done.get_return_value()
        if code == request.length and data is not None:
            request.buffer[:] = data
            request.complete()
        else:
            self._failed(request, code if code < 0 else -errno.EIO)

    def _written(self, request: Request, done: Any) -> None:
        if request.durable and self._cached and done.get_return_value() >= 0:
            try:
                self._image.aio_flush(lambda flushed: self._done(request, flushed))
                return
            except BaseException as error:
                self._patience.end(request)
                request.complete(self._refused(error, Operation.FLUSH))
                return
        self._done(request, done)

    def _done(self, request: Request, done: Any) -> None:
        if self._patience.end(request):
            code = done.get_return_value()
            if code < 0:
                self._failed(request, code)
            else:
                request.complete()

    def _failed(self, request: Request, code: int) -> None:
        if code == -errno.ESHUTDOWN:
            self._shut_out = True
        request.complete(failure(code, request.operation.name))

    # The blocking ones

    def _wait(self, request: Request) -> None:
        """Submit a request and wait for it, no longer than it may take."""
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        request.begin(lambda _, error: ended.put(error))
        self.submit(request)
        if (error := ended.get()) is not None:
            raise error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read."""
        self._wait(Request(Operation.READ, offset, len(buffer), buffer))

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write; without librbd's cache it is durable."""
        self._wait(Request(Operation.WRITE, offset, len(buffer), buffer))

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write durably."""
        self._wait(Request(Operation.WRITE, offset, len(buffer), buffer, durable=True))

    def flush(self) -> None:
        """Empty librbd's cache."""
        self._wait(Request(Operation.FLUSH))

    def discard(self, offset: int, length: int) -> None:
        """Give the space of whole objects back, and make the rest zeros."""
        self._wait(Request(Operation.DISCARD, offset, length))

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range zeros; whole objects go."""
        self._wait(Request(Operation.WRITE_ZEROES, offset, length))

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What the object map says, or else what the objects themselves have: the rest are holes."""
        end = offset + length
        while offset < end:
            piece = min(_PIECE, end - offset)
            yield from self._extents(offset, piece)
            offset += piece

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        found: list[tuple[int, int]] = []
        try:
            self._image.diff_iterate(
                offset, length, None, lambda at, n, there: found.append((at, n)) if there else None, True,
                self._has_fast_diff(),
            )  # fmt: skip
        except modules()[1].Error as error:
            raise self._refused(error, Operation.READ) from None
        at, end, block = offset, offset + length, self.block_size
        for start, size in sorted(found):
            first = max(at, start // block * block)
            last = min(end, -(-(start + size) // block) * block)
            if first > at:
                yield Extent(at, first - at, Allocation.HOLE)
            if last > first:
                yield Extent(first, last - first, Allocation.MAPPED)
                at = last
        if at < end:
            yield Extent(at, end - at, Allocation.HOLE)

    def _has_fast_diff(self) -> bool:
        _, rbd = modules()
        flag = rbd.RBD_FLAG_FAST_DIFF_INVALID
        return bool(self._image.features() & rbd.RBD_FEATURE_FAST_DIFF and not self._image.flags() & flag)

    def resize(self, size: int) -> None:
        """Change the image's size."""
        if self.read_only:
            raise BackstoreError(f"rbd: {self.name} is read-only")
        try:
            self._image.resize(size)
        except modules()[1].Error as error:
            raise BackstoreError(f"rbd: {self.name}: {reason(error)}") from None
        self._size = size
