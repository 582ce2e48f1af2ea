"""One connection to an NBD server: a handle of libnbd, which one thread moves on when its socket is ready."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from iscsitools_nbd.commands import Command, Kind

LARGEST = 32 << 20
"""Bytes of one request, where the server does not ask for less (what all servers take)."""
_ZEROS_AT_ONCE = 1 << 30  # a request without data has a length of 32 bits


@dataclass(frozen=True, slots=True)
class Export:
    """What the server says of the export when a connection is made. Sizes are bytes; 0: not said."""

    size: int
    read_only: bool
    can_flush: bool
    can_fua: bool
    can_zero: bool
    can_trim: bool
    can_multi_conn: bool
    has_status: bool
    rotational: bool
    smallest: int
    preferred: int
    largest: int

    def piece(self, kind: Kind) -> int:
        """The most bytes that one request of this kind may be for; the flags of STATUS go by 32 bits too."""
        return self.largest if kind in (Kind.READ, Kind.WRITE) else _ZEROS_AT_ONCE


class Connection:
    """A handle. Every method is called by the thread that made it; none waits but for a name that DNS resolves."""

    def __init__(self, nbd: ModuleType, uri: str, silence: float) -> None:
        """Begin to connect. ``silence``: seconds after which a peer that acknowledges nothing is taken for gone."""
        self._nbd = nbd
        self._handle = nbd.NBD()
        self._handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self._handle.set_uri_allow_local_file(True)  # the URI is the administrator's: it may name a file of keys
        self._handle.set_pread_initialize(False)  # a read that fails returns nothing of its buffer to anybody
        self._silence = silence
        self._tuned = False
        self.requests: dict[Command, int] = {}
        """Under way, with the library's number of each."""
        self.finished: list[Command] = []
        """Answered since somebody looked; ``failure`` says how."""
        self._handle.aio_connect_uri(uri)

    @property
    def is_ready(self) -> bool:
        """Whether requests can be sent."""
        handle = self._handle
        return bool(handle.aio_is_ready() or handle.aio_is_processing())

    @property
    def is_lost(self) -> bool:
        """Whether it has ended, by whichever side."""
        return bool(self._handle.aio_is_dead() or self._handle.aio_is_closed())

    def fileno(self) -> int:
        """Of the socket; -1 while there is none."""
        try:
            return int(self._handle.aio_get_fd())
        except self._nbd.Error:
            return -1

    def events(self) -> int:
        """What of poll(2) it waits for."""
        direction = self._handle.aio_get_direction()
        return (select.POLLIN if direction & self._nbd.AIO_DIRECTION_READ else 0) | (
            select.POLLOUT if direction & self._nbd.AIO_DIRECTION_WRITE else 0
        )

    def move_on(self, events: int) -> None:
        """Read or write what the socket is ready for. Raises the library's Error when that ended the connection."""
        direction = self._handle.aio_get_direction()
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and direction & self._nbd.AIO_DIRECTION_READ:
            self._handle.aio_notify_read()
        elif events & (select.POLLOUT | select.POLLERR) and direction & self._nbd.AIO_DIRECTION_WRITE:
            self._handle.aio_notify_write()
        if not self._tuned and self.is_ready:
            self._tune()

    def _tune(self) -> None:
        """Have the kernel notice a peer that is silent: a network that swallows everything ends no connection."""
        self._tuned = True
        with contextlib.suppress(OSError), socket.socket(fileno=_copy_of(self.fileno())) as tcp:
            if tcp.family not in (socket.AF_INET, socket.AF_INET6):
                return
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            idle = max(1, int(self._silence / 3))
            for name, value in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", idle), ("TCP_KEEPCNT", 2)):
                if hasattr(socket, name):
                    tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._silence * 1000))

    def export(self) -> Export:
        """What the server has said. Raises the library's Error."""
        nbd, handle = self._nbd, self._handle
        return Export(
            size=handle.get_size(),
            read_only=bool(handle.is_read_only()),
            can_flush=bool(handle.can_flush()),
            can_fua=bool(handle.can_fua()),
            can_zero=bool(handle.can_zero()),
            can_trim=bool(handle.can_trim()),
            can_multi_conn=bool(handle.can_multi_conn()),
            has_status=bool(handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)),
            rotational=bool(handle.is_rotational()),
            smallest=handle.get_block_size(nbd.SIZE_MINIMUM),
            preferred=handle.get_block_size(nbd.SIZE_PREFERRED),
            largest=min(handle.get_block_size(nbd.SIZE_MAXIMUM) or LARGEST, LARGEST),
        )

    def send(self, request: Command) -> None:
        """Send a request, or as much of it as the socket takes. Raises the library's Error if it cannot be sent."""
        request.tries += 1
        request.failure = 0

        def completed(error: Any) -> int:
            # Within a call of the library, so nothing is done here but to take note.
            request.failure = error.value
            if self.requests.pop(request, None) is not None:
                self.finished.append(request)
            return 1

        self.requests[request] = 0
        try:
            self.requests[request] = self._start(request, completed)
        except BaseException:
            self.requests.pop(request, None)
            raise
        if request in self.finished:  # answered within the call
            self.requests.pop(request, None)

    def _start(self, request: Command, completed: Any) -> int:
        nbd, handle, offset, length = self._nbd, self._handle, request.offset, request.length
        fua = nbd.CMD_FLAG_FUA if request.fua else 0
        match request.kind:
            case Kind.READ:
                return int(handle.aio_pread(nbd.Buffer.from_buffer(request.buffer), offset, completed))
            case Kind.WRITE:
                return int(handle.aio_pwrite(nbd.Buffer.from_buffer(request.buffer), offset, completed, fua))
            case Kind.ZERO:
                return int(handle.aio_zero(length, offset, completed, fua | nbd.CMD_FLAG_NO_HOLE))
            case Kind.DISCARD:
                return int(handle.aio_zero(length, offset, completed, fua))
            case Kind.FLUSH:
                return int(handle.aio_flush(completed))
        return int(handle.aio_block_status(length, offset, _extents_into(request), completed))

    def close(self) -> None:
        """Say goodbye if that needs no waiting, and let go of the socket; what is under way is forgotten."""
        if not self.requests:
            with contextlib.suppress(self._nbd.Error):
                self._handle.aio_disconnect()
        self.requests.clear()
        self._handle = None


def _extents_into(request: Command) -> Any:
    request.entries = []

    def extents(context: str, offset: int, entries: list[Any], error: Any) -> int:
        for entry in entries:
            request.entries.extend(entry if isinstance(entry, tuple) else (entry,))
        return 0

    return extents


def _copy_of(number: int) -> int:
    if number < 0:
        raise OSError(errno.EBADF, "no socket")
    return os.dup(number)
