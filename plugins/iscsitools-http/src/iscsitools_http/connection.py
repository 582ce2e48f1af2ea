"""HTTP connections whose every request has to be answered in full before a deadline.

The standard library's time-out bounds each wait by itself: a server that sends one byte now and then would hold the
thread for ever. Here every wait, of connecting too, gets what is left until the deadline.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

Left = Callable[[], float]
"""Returns the seconds left, always more than 0; raises TimeoutError when there are none."""


class Connection(http.client.HTTPConnection):
    """A connection to ``host``; with ``context`` it is HTTPS. :meth:`allow` sets the deadline of the next request."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._context = context
        self._deadline = 0.0
        self.response_class = self._response  # type: ignore[assignment]

    def allow(self, seconds: float) -> None:
        """Give what is asked next, until its answer was read, ``seconds`` from now."""
        self._deadline = time.monotonic() + seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def connect(self) -> None:
        """Connect to the first of the host's addresses that takes it, and begin TLS. Raises OSError."""
        sock = self._connected()
        if self._context is not None:
            sock.settimeout(self._left())
            sock = self._context.wrap_socket(sock, server_hostname=self.host)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self._left())
        self.sock = sock

    def _connected(self) -> socket.socket:
        error = OSError(f"{self.host} has no address")
        for *_, (address, *_) in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            try:
                return socket.create_connection((str(address), self.port), self._left())
            except TimeoutError:
                raise
            except OSError as refused:
                error = refused
        raise error

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def _response(self, sock: socket.socket, *arguments: Any, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_Source(sock, self._left), *arguments, **options)  # type: ignore[arg-type]


class _Source:
    """Stands in the place of a socket where a response is read; it is asked for a file only."""

    def __init__(self, sock: socket.socket, left: Left) -> None:
        self._sock = sock
        self._left = left

    def makefile(self, mode: str) -> io.BufferedReader:
        """What the response reads from, ``mode`` being ``rb``."""
        return io.BufferedReader(_Raw(self._sock, self._left))


class _Raw(io.RawIOBase):
    """Receives, waiting as long as is left."""

    def __init__(self, sock: socket.socket, left: Left) -> None:
        self._sock = sock
        self._left = left
        # It keeps the descriptor open when the connection is closed before the body was read.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive once."""
        self._sock.settimeout(self._left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        """Let go of the descriptor."""
        self._file.close()
        super().close()
