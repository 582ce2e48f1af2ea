"""io_uring for backstores: one ring for each thread that asks, shared by all stores that it serves.

Without the module in C, or where the kernel or a seccomp profile forbids it, there is none, and the stores' calls go to
worker threads. The server says so in one line when it starts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from iscsitools.datapath._native import Ring as NativeRing

_here = threading.local()
_lock: Final = threading.Lock()
_refused: list[str] = []

Ended = Callable[[Any, int], None]
"""Called with the request, and what was done: bytes, 0, or a negative error number."""


def _native() -> type[NativeRing] | None:
    try:
        from iscsitools.datapath._native import Ring
    except ImportError:  # server/data_path.py says what is missing without it
        return None
    return Ring


class Ring:
    """The ring of a thread. It is closed when the last store that uses it leaves."""

    def __init__(self, native: NativeRing) -> None:
        self._native = native
        self._users = 0
        self.closed = False
        self.fd = native.fd
        """Can be read when :meth:`reap` has something to do; the same for all stores of this thread."""

    @property
    def native(self) -> NativeRing:
        """The ring itself, for a data path."""
        return self._native

    def join(self) -> bool:
        """Use it, until :meth:`leave`; False: it has been closed meanwhile."""
        with _lock:
            if not self.closed:
                self._users += 1
        return not self.closed

    def leave(self, *fds: int) -> None:
        """Use it no more, and nothing of these descriptors is under way. From any thread."""
        with _lock:
            for fd in fds:
                self._native.forget(fd)
            self._users -= 1
            if not self._users:
                self.closed = True
                if not self._native.under_way:  # a call that never returned keeps it
                    self._native.close()

    def read(self, fd: int, offset: int, buffer: memoryview, direct: bool, ended: Ended, request: object) -> None:
        """Fill ``buffer``; raises OSError when the kernel takes no more now."""
        self._native.read(fd, offset, buffer, 0, direct, (ended, request))
        self._submit()

    def write(
        self, fd: int, offset: int, buffer: memoryview, flags: int, direct: bool, ended: Ended, request: object
    ) -> None:
        """Write ``buffer`` with these flags of pwritev2(2)."""
        self._native.write(fd, offset, buffer, flags, direct, (ended, request))
        self._submit()

    def sync(self, fd: int, ended: Ended, request: object) -> None:
        """Fdatasync(2)."""
        self._native.sync(fd, (ended, request))
        self._submit()

    def allocate(self, fd: int, mode: int, offset: int, length: int, ended: Ended, request: object) -> None:
        """Fallocate(2)."""
        self._native.allocate(fd, mode, offset, length, (ended, request))
        self._submit()

    def cancel(self, ended: Ended, request: object) -> None:
        """Have a call end soon, with ECANCELED, if it can be ended."""
        self._native.cancel((ended, request))

    def _submit(self) -> None:
        if self._native.submit():
            self.reap()

    def reap(self) -> None:
        """Tell of what has ended, whichever store's it is."""
        for (ended, request), result in self._native.reap():
            ended(request, result)


def ring_of_this_thread() -> Ring | None:
    """The ring, joined; it is opened with the first question. None: there can be none."""
    ring: Ring | None = getattr(_here, "ring", None)
    if ring is not None and ring.join():
        return ring
    native = None if _refused else _native()
    if native is None:
        return None
    try:
        ring = _here.ring = Ring(native())
    except OSError as error:
        _refused.append(error.strerror or str(error))
        return None
    ring.join()
    return ring


def refusal() -> str:
    """Why there can be no ring in this process; empty: there can, or what it takes was not built."""
    if not _refused and (ring := ring_of_this_thread()) is not None:
        ring.leave()
    return _refused[0] if _refused else ""
