"""The ``rbd`` backstore: an image of Ceph, by librbd's asynchronous calls."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from iscsitools.backstores.base import (
    BackstoreError,
    Capabilities,
    Extent,
    Operation,
    Request,
)
from iscsitools.backstores.shortcut import Shortcut
from iscsitools.backstores.submitting import Ended, SubmittingBackstore

from iscsitools_rbd.binding_calls import refusal
from iscsitools_rbd.ceph import abandon, connect, failure, modules
from iscsitools_rbd.extents import extents_of
from iscsitools_rbd.head import Head
from iscsitools_rbd.image import OpenImage
from iscsitools_rbd.native_image import NativeImage, ServedImage, native, text
from iscsitools_rbd.options import OPTIONS, ImageOptions
from iscsitools_rbd.request_path import RequestPath
from iscsitools_rbd.shared import SharedObject

_ASYNCHRONOUS: Final = frozenset(Operation) - {Operation.COMPARE_AND_WRITE}
_CONTROL: Final = {"rados_osd_op_timeout": "3", "rados_mon_op_timeout": "5"}
"""Of a head's client that never writes to the image: what it asks for is asked for again."""
_LOOK: Final = 0.25
"""Seconds between two looks for requests whose time is over, and at the size."""


class RbdBackstore(SubmittingBackstore):
    """``rbd:POOL/IMAGE[@SNAPSHOT]``: a disk that lies in Ceph.

    Calls are librbd's asynchronous ones, and the blocking methods wait for those: no thread per call. librbd copies
    what it writes before the call returns, and its callbacks only note that a request is complete.
    """

    kind = "rbd"
    summary = "an image of Ceph (RBD)"
    what = "POOL/IMAGE[@SNAPSHOT]"
    options = OPTIONS

    head_of_server: ClassVar[int] = 0
    """The number of all images whose ``head`` is 0: ``head`` of the plugin's own options."""

    def __init__(self, what: str, **options: Any) -> None:
        self._options = chosen = ImageOptions.of(what, options, self.head_of_server)
        self.name = chosen.name
        self._number = chosen.number
        self._head: Head | None = None
        self._shown: OpenImage | None = None
        """What size and identity are read from: the image itself, or a head's second client."""
        self._control: Any = None
        """A head's client for what the heads share."""
        self._path = RequestPath(chosen.wait, self._failed_at)
        self._size = 0
        self._cached = False
        self._identity = ""
        self._shut_out = False
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    # Opening

    def open(self) -> None:
        """Connect a client of this disk's own, and open the image; a head joins the others."""
        self.read_only = self.read_only or bool(self.name.snapshot)
        shown = self._open_image(self.read_only or bool(self._number))
        self._shown = shown
        self._size, self._cached, self._identity = shown.size, shown.cached, shown.identity
        if native() is not None and not self._cached:
            self._path.go_by_c()
        if self._number:
            self._join(shown)
        else:
            try:
                self.activate(self._open_data() if self._path.fd >= 0 else shown)
            except BackstoreError:
                shown.close()
                raise
        for work in (self._look_after_requests, self._look_after_size):
            thread = threading.Thread(target=work, name=f"rbd-{work.__name__[12:]}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Close the image, which gives its lock back, and the client; an active head leaves the disk to another."""
        self._closing.set()
        shown, control = self._shown, self._control
        left = self._head is None or self._head.end()
        for thread in self._threads:
            thread.join(timeout=1)
            left = left and not thread.is_alive()
        if shown is None:
            return
        if left and not self._shut_out and not self._path.waiting_for:
            if control is not None:
                control.shutdown()
            if isinstance(self._path.image, NativeImage):
                self._path.image.close()
            shown.close()
        else:  # closing could wait without an end
            abandon(shown.cluster, shown.pool, shown.image, *([control] if control is not None else []))
            return  # librbd may still say that it has answered
        self._path.close()

    # As a head

    def _join(self, shown: OpenImage) -> None:
        """Become one of the heads."""
        try:
            self._control = control = connect(self._options.account, _CONTROL)
            pool = control.open_ioctx(self.name.pool)
            pool.set_namespace(self.name.namespace)
            shared = SharedObject(pool, shown.pool, shown.ident)
            self._head = Head(self._number, self, shared, control, self._open_data, self._options.takeover)
            self._head.begin()
        except BaseException:
            shown.close()
            raise

    def _open_data(self) -> ServedImage:
        chosen = self._options
        if (fd := self._path.fd) >= 0:
            return NativeImage(chosen.account, chosen.settings, chosen.name, self.read_only, fd, chosen.wait)
        return self._open_image(self.read_only)

    def _open_image(self, read_only: bool) -> OpenImage:
        chosen = self._options
        return OpenImage(chosen.account, chosen.settings, chosen.name, read_only)

    def activate(self, image: ServedImage) -> None:
        """Serve from this image."""
        self._shut_out = False
        self._path.lead_to(image)

    def deactivate(self) -> None:
        """Serve no more; the client is closed when librbd lets go of it."""
        self._path.give_up()

    def access_changed(self) -> None:
        """Tell the server."""
        self.host.access_changed()

    def reservations_changed(self) -> None:
        """Tell the server."""
        self.host.reservations_changed()

    @property
    def access(self) -> Mapping[int, str] | None:
        """The heads' states."""
        return dict(self._head.access) if self._head is not None else None

    def request_access(self, states: Mapping[int, str]) -> None:
        """Take over when this head is to be active. Only the others make it standby."""
        assert self._head is not None
        if states.get(self._number) in ("optimized", "non-optimized"):
            self._head.take_over()

    @property
    def reservations(self) -> str | None:
        """The text that all heads share."""
        return self._head.reservations if self._head is not None else None

    def keep_reservations(self, text: str) -> None:
        """Share it."""
        assert self._head is not None
        self._head.keep_reservations(text)

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
        late = self._path.waiting_for
        return f"Ceph has not answered for {late:.0f} s" if late else ""

    def _look_after_requests(self) -> None:
        while not self._closing.wait(_LOOK):
            self._path.look()

    def _look_after_size(self) -> None:
        """Notice a new size, which librbd learns from Ceph by itself. It may wait for Ceph."""
        while not self._closing.wait(_LOOK):
            try:
                size = self._size_now()
            except (modules()[1].Error, OSError):
                continue
            if size != self._size and not self._closing.is_set():
                self._size = size
                self.host.size_changed()

    def _size_now(self) -> int:
        """Of the client that reads and writes, where there is one: it has to know the new blocks."""
        if isinstance(image := self._path.image, NativeImage):
            return image.size()
        return int(self._shown.image.size()) if self._shown is not None else self._size

    # Asynchronous calls

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """All but COMPARE AND WRITE, which librbd's binding has not: it is a read and a write."""
        return _ASYNCHRONOUS

    def submit(self, request: Request) -> None:
        """Send a request to librbd."""
        operation = request.operation
        if operation is not Operation.READ and operation is not Operation.FLUSH and self.read_only:
            request.complete(OSError(errno.EROFS, f"{self.name} is read-only"))
            return
        if operation is Operation.FLUSH and not self._cached:
            request.complete()  # nothing is volatile
            return
        try:
            self._path.submit(request)
        except BaseException as error:
            raise refusal(error, operation) from None

    @property
    def completion_fd(self) -> int:
        """Of the module in C; without it callbacks of the binding say what is done."""
        return self._path.fd

    def reap(self) -> None:
        """Complete what librbd has answered."""
        self._path.reap()

    def shortcut(self) -> Shortcut | None:
        """What plain reads and writes go by, past Python."""
        return self._path.shortcut()

    def _failed_at(self, request: Request, code: int) -> None:
        """Called in any thread; a READ that is short has no error of its own."""
        self._failed(request, code if code < 0 else -errno.EIO)

    def _failed(self, request: Request, code: int) -> None:
        if code == -errno.ESHUTDOWN:
            if self._head is None:
                self._shut_out = True
            else:
                self._head.look_soon()
        request.complete(failure(code, request.operation.name))

    def await_end(self, ended: Ended) -> None:
        """Without the module in C, librbd's threads say it; else whoever looks at its descriptor."""
        if self._path.fd >= 0:
            self._path.reap_until(ended)

    # What is no request

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What the object map says, or else what the objects themselves have: the rest are holes."""
        served = self._serving()
        assert self._shown is not None
        image = served.image if isinstance(served, OpenImage) else self._shown.image
        yield from extents_of(image, offset, length, self.block_size)

    def _serving(self) -> ServedImage:
        """What is served; raises OSError when another head serves it."""
        if (image := self._path.image) is None:
            raise OSError(errno.ENODEV, "another head serves the disk")
        return image

    def resize(self, size: int) -> None:
        """Change the image's size."""
        if self.read_only:
            raise BackstoreError(f"rbd: {self.name} is read-only")
        try:
            self._serving().resize(size)
        except (modules()[1].Error, OSError) as error:
            raise BackstoreError(f"rbd: {self.name}: {text(error)}") from None
        self._size = size
