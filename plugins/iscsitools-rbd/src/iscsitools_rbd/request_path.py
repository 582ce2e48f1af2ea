"""The way of a disk's requests to the image that is served, and back: by the module in C, or by librbd's binding."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from iscsitools.backstores.base import Request
from iscsitools.backstores.carrier import Carrier, carrier_of
from iscsitools.backstores.shortcut import Shortcut
from iscsitools.backstores.submitting import Ended

from iscsitools_rbd.binding_calls import BindingCalls
from iscsitools_rbd.native_image import NativeImage, ServedImage, native
from iscsitools_rbd.patience import Patience

_STEP: Final = 10
"""Milliseconds after which a thread that waits looks whether the loop has completed its request."""


class RequestPath:
    """Leads to one image, or to none while another head serves the disk.

    ``failed`` gets a request that has failed, and librbd's code or what a READ has got that is short. In any thread.
    """

    def __init__(self, seconds: float, failed: Callable[[Request, int], None]) -> None:
        self.image: ServedImage | None = None
        """What is read and written; None: this head is not active."""
        self.fd = -1
        """An eventfd that says that librbd has answered; -1: callbacks of the binding say so."""
        self._seconds = seconds
        self._failed = failed
        self._calls: NativeImage | BindingCalls | None = None
        """What hands requests for the image to librbd."""
        self._direct: Any = None
        """What data paths in C hand their calls to (``native/carrier.c``)."""
        self._carrier: Carrier | None = None

    def go_by_c(self) -> None:
        """From now on images are those of the module in C."""
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._direct = native().Carrier()

    def close(self) -> None:
        """Nobody asks any more, and librbd says nothing any more."""
        if self.fd >= 0:
            os.close(self.fd)

    def lead_to(self, image: ServedImage) -> None:
        """Serve from this image."""
        if isinstance(image, NativeImage):
            self._calls = image
            self._direct.use(image.opened)
        else:
            self._calls = BindingCalls(image, Patience(self._seconds), self._failed)
        self.image = image

    def give_up(self) -> None:
        """Serve no more; the client is closed when librbd lets go of it."""
        image, self.image = self.image, None
        calls, self._calls = self._calls, None
        if self._direct is not None:
            self._direct.use(None)
        error = OSError(errno.ENODEV, "another head serves the disk")
        if calls is not None:
            calls.give_up(error)
        if image is not None:
            closer = threading.Thread(target=image.close, name="rbd-close", daemon=True)
            closer.start()
            closer.join(timeout=2)

    @property
    def waiting_for(self) -> float:
        """Seconds for which the oldest request that is late has waited."""
        return calls.waiting_for if (calls := self._calls) is not None else 0.0

    def look(self) -> None:
        """Answer requests whose time is over."""
        if (calls := self._calls) is not None:
            calls.look()

    def submit(self, request: Request) -> None:
        """Hand a request to librbd; it fails where no image is served."""
        calls = self._calls
        if calls is None:
            request.complete(OSError(errno.ENODEV, "another head serves the disk"))
            return
        calls.submit(request)

    def reap(self) -> None:
        """Complete what librbd has answered. On the event loop's thread."""
        self._poll()
        if self._carrier is not None:
            self._carrier.reap()

    def _poll(self) -> None:
        """The same, but for what data paths wait for, which only the loop's thread may answer. From any thread."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        if isinstance(calls := self._calls, NativeImage):
            calls.reap(self._failed)

    def reap_until(self, ended: Ended) -> None:
        """Where nobody else looks at the descriptor, this thread does; the loop may be faster at any time."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while ended.empty():
            if poll.poll(_STEP):
                self._poll()
                if self._carrier is not None and self._carrier.waiting:
                    os.eventfd_write(self.fd, 1)  # the loop has to come by
                    time.sleep(_STEP / 1000)

    def shortcut(self) -> Shortcut | None:
        """What plain reads and writes go by, past Python."""
        if self._carrier is None and self._direct is not None:
            self._carrier = carrier_of(self._direct.capsule(), self.fd, self._carried)
        return self._carrier.shortcut() if self._carrier is not None else None

    def _carried(self, request: Request, result: int) -> None:
        """A call of a data path has ended that is a request by now."""
        if result == request.length:
            request.complete()
        else:
            self._failed(request, result)
