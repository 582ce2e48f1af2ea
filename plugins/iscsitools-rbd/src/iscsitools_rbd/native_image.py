"""An open image whose requests go to librbd by the module in C: no Python in librbd's threads, nothing copied twice.

Where that module could not be built, the binding's callbacks do the same (:mod:`.binding_calls`), at more cost.
"""

from __future__ import annotations

import errno
import importlib
import os
import threading
from collections.abc import Callable
from typing import Any, Final

from iscsitools.backstores.base import BackstoreError, Operation, Request

from iscsitools_rbd.ceph import Account, reason
from iscsitools_rbd.image import OpenImage
from iscsitools_rbd.names import ImageName

_CODES: Final = {
    Operation.READ: 0,
    Operation.WRITE: 1,
    Operation.DISCARD: 2,
    Operation.WRITE_ZEROES: 3,
}
"""As in native/image.h."""
_NOTHING: Final = b""


def native() -> Any:
    """The module; None where there is none."""
    try:
        return importlib.import_module("iscsitools_rbd._native")
    except ImportError:
        return None


class NativeImage:
    """An image with a client of its own. ``eventfd`` can be read when :meth:`reap` has something to do."""

    def __init__(
        self, account: Account, settings: dict[str, str], name: ImageName, read_only: bool, eventfd: int, seconds: float
    ) -> None:
        """Connect and open; ``seconds``: how long a request may wait. Raises BackstoreError."""
        chosen = {**settings, "client_mount_timeout": str(max(1, round(account.seconds)))}
        self._seconds = seconds
        conf = account.conf or os.environ.get("CEPH_CONF", "")
        try:
            self._image = native().Image(
                conf, account.user, chosen, name.pool, name.namespace, name.image, name.snapshot, read_only, eventfd
            )
        except OSError as error:
            raise BackstoreError(f"rbd: {name}: {error.strerror}") from None
        self.opened = self._image
        """What the module's ``Carrier`` uses."""
        self._submit: Callable[..., bool] = self._image.submit
        self.reap: Callable[[Callable[[Request, int], None]], None] = self._image.reap
        """Complete what librbd has answered; the argument gets a request that has failed, and librbd's code."""
        self.address: str = self._image.address()
        self.owners: Callable[[], list[str]] = self._image.owners
        self.break_lock: Callable[[str], None] = self._image.break_lock
        self.acquire: Callable[[], None] = self._image.acquire
        self.wait_for_map: Callable[[], None] = self._image.wait_for_map
        self._use = threading.Lock()
        """Whoever asks librbd something in a thread while another may close the image."""

    def submit(self, request: Request) -> None:
        """Hand a request to librbd; one whose blocks a late one may still change gets BUSY."""
        operation = request.operation
        buffer = request.buffer if request.buffer else _NOTHING
        if not self._submit(request, _CODES[operation], request.offset, request.length, buffer):
            request.complete(OSError(errno.EBUSY, "Ceph has not answered an earlier write of these blocks"))

    def size(self) -> int:
        """In bytes, as this client knows it. Raises OSError, as ``resize`` does."""
        with self._use:
            return int(self._image.size())

    def resize(self, size: int) -> None:
        """Give the image another size, in bytes."""
        with self._use:
            self._image.resize(size)

    def close(self) -> None:
        """Close all of it; waits for Ceph, without an end if that does not answer."""
        with self._use:
            self._image.close()

    def look(self) -> None:
        """Give BUSY to those whose time is over."""
        for request in self._image.overdue(self._seconds, errno.EBUSY):
            request.complete(OSError(errno.EBUSY, f"Ceph has not answered within {self._seconds:g} s"))

    def give_up(self, error: OSError) -> None:
        """Fail all that is under way: the client was shut out, so nothing of it can land."""
        for request in self._image.overdue(-1.0, error.errno):
            request.complete(error)

    @property
    def waiting_for(self) -> float:
        """Seconds since the oldest request that was late was sent; 0: none is late."""
        return float(self._image.waiting())


ServedImage = OpenImage | NativeImage
"""What commands go to, by the module in C or by the binding."""


def text(error: BaseException) -> str:
    """What an exception of this module, or of the bindings, says."""
    return error.strerror or str(error) if isinstance(error, OSError) else reason(error)
