"""Sockets whose last answer has been sent: shut down, and read until the peer has closed too.

A socket that is closed while something that its peer sent lies unread is reset, and the reset can overtake the answer:
the peer then learns of a broken connection, and not why it was refused.
"""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import Final

from iscsitools.server.loop import Loop

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
        self._left: dict[socket.socket, tuple[float, int]] = {}
        """With each, until when it waits, and the bytes that it may still send; the one that began first is first."""
        self._timed = False
        """A timer runs, one for all of them."""
        self._scratch = bytearray(64 << 10)

    def __len__(self) -> int:
        return len(self._left)

    def take(self, sock: socket.socket) -> None:
        """Shut a socket down, which the loop watches for input, and close it when its peer has."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer was faster
            self._loop.unwatch(sock.fileno())
            sock.close()
            return
        if len(self._left) >= _MOST:
            self._close(next(iter(self._left)))
        self._left[sock] = time.monotonic() + _SECONDS, _BYTES
        self._loop.hand_on(sock.fileno(), partial(self._on_event, sock))
        if not self._timed:
            self._timed = True
            self._loop.call_later(_SECONDS, self._look)

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
        until, left = self._left[sock]
        self._left[sock] = until, left - count
        if not count or left <= count:
            self._close(sock)

    def _look(self) -> None:
        """Close those that have waited for long enough."""
        self._timed = False
        now = time.monotonic()
        while self._left and (first := next(iter(self._left.items())))[1][0] <= now:
            self._close(first[0])
        if self._left:
            self._timed = True
            self._loop.call_later(first[1][0] - now, self._look)

    def _close(self, sock: socket.socket) -> None:
        if self._left.pop(sock, None) is not None:
            self._loop.unwatch(sock.fileno())
            sock.close()
