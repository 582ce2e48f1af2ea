"""Sockets whose last answer has been sent: shut down, and read until the peer has closed too.

A socket that is closed while something that its peer sent lies unread is reset, and the reset can overtake the answer:
the peer then learns of a broken connection, and not why it was refused.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Final

from iscsitools.server.loop import Loop
from iscsitools.server.poller import READ

_SECONDS: Final = 2.0
"""How long a peer may take to close."""
_MOST: Final = 64
"""Sockets that wait at once; when there are more, the one that has waited for longest is closed."""
_BYTES: Final = 1 << 20
"""What a peer may still send; it had its answer."""


class Draining:
    """The sockets that wait for their peers to close."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._left: dict[socket.socket, int] = {}
        """With each, the bytes that it may still send."""
        self._scratch = bytearray(64 << 10)

    def __len__(self) -> int:
        return len(self._left)

    def take(self, sock: socket.socket) -> None:
        """Shut a socket down and close it when its peer has; the loop does not watch it any more."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()  # the peer was faster
            return
        if len(self._left) >= _MOST:
            self._close(next(iter(self._left)))
        self._left[sock] = _BYTES
        self._loop.watch(sock.fileno(), READ, partial(self._on_event, sock))
        self._loop.call_later(_SECONDS, partial(self._close, sock))

    def close(self) -> None:
        """Wait for nobody any more."""
        for sock in list(self._left):
            self._close(sock)

    def _on_event(self, sock: socket.socket, _what: int) -> None:
        try:
            count = sock.recv_into(self._scratch)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._left[sock] -= count
        if not count or self._left[sock] <= 0:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        if self._left.pop(sock, None) is not None:
            self._loop.unwatch(sock.fileno())
            sock.close()
