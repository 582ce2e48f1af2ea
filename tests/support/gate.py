"""A door between an initiator and a target: it can be shut, and led to a target that was started anew."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Gate:
    """Hands connections on to ``target``; ``port`` of 127.0.0.1 is its own.

    ``is_open`` and ``target`` can be changed: they hold for connections from then on. While ``target`` is None, who
    connects waits for one.
    """

    def __init__(self, target: tuple[str, int] | None) -> None:
        self.is_open = True
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_open:
                client.close()
                continue
            while (target := self.target) is None:
                time.sleep(0.01)
            try:
                server = socket.create_connection(target)
            except OSError:
                client.close()
                continue
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._hand_on, args=[one, other], daemon=True).start()

    def _hand_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 18):
                other.sendall(data)
        # The end of one direction is the end of both; the thread of the other direction wakes up and closes too.
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        one.close()
