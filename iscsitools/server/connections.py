"""The connections of a server: how one comes, is sent for, is looked at with the clock, and goes."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from iscsitools.config import Limits
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.requests.dispatch import Dispatcher
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.server.callers import MOST_REFUSED, Callers
from iscsitools.server.data_threads import DataThreads
from iscsitools.server.draining import Draining
from iscsitools.server.listeners import prepare
from iscsitools.server.log_queue import wanted
from iscsitools.server.loop import Loop
from iscsitools.server.tcp_connection import TcpConnection

log = logging.getLogger(__name__)

_CLOSED: Final = "connection closed"


class Connections:
    """All of them, each with the TCP connection that moves its bytes."""

    def __init__(
        self, loop: Loop, buffers: Buffers, probes: Probes, limits: Limits, gone: Callable[[ConnectionInfo], None]
    ) -> None:
        """``gone``: told of each that has ended."""
        self._loop = loop
        self._buffers = buffers
        self._probes = probes
        self._told_gone = gone
        self.tcp: dict[Connection, TcpConnection] = {}
        self.callers = Callers(limits.max_connections, limits.max_connections_per_address, limits.kept_free)
        self.refused = 0
        """Connections that found as many as allowed."""
        self._draining = Draining(loop)
        self._dirty: dict[Connection, None] = {}
        self._number = 0
        self._dispatcher: Dispatcher
        self._data_path: type[DataPath]
        self.threads: DataThreads | None = None
        self.take_limits(limits)

    def take_limits(self, limits: Limits) -> None:
        """Take other limits, and timers for connections that come. Nobody who is there already is sent away."""
        self.callers.change(limits.max_connections, limits.max_connections_per_address, limits.kept_free)
        self._timers = Timers(
            int(limits.login_timeout * 1e9), int(limits.nop_interval * 1e9), int(limits.nop_timeout * 1e9),
            int(limits.data_out_timeout * 1e9),
        )  # fmt: skip

    def serve_by(self, dispatcher: Dispatcher, data_path: type[DataPath], threads: DataThreads | None) -> None:
        """Who serves them; said once, before the first one comes."""
        self._dispatcher = dispatcher
        self._data_path = data_path
        self.threads = threads

    def adopt(self, sock: socket.socket, local: str, remote: str) -> None:
        """Take a connection that was accepted, from ``remote`` at ``local``."""
        try:
            prepare(sock)
        except OSError:
            sock.close()  # gone before we came to it
            return
        if self.callers.full:
            self._make_room()
        refusal = self.callers.refusal(remote)
        if refusal:
            self.refused += 1
        if refusal and self.callers.refused >= MOST_REFUSED:
            log.warning("connection closed unanswered: %s", refusal, extra={"remote": remote})
            sock.close()
            return
        self._number += 1
        info = ConnectionInfo(self._number, local, remote, "ipv6" if local.startswith("[") else "ipv4")
        tcp = TcpConnection(self._loop, sock, self._gone, self._draining.take, self.threads)
        now = time.monotonic_ns()
        conn = Connection(
            info, self._buffers, self._probes, self._dispatcher, now, self._timers, self._wake, self._data_path
        )
        conn.refusal = refusal
        self.callers.add(remote, bool(refusal))
        self.tcp[conn] = tcp
        tcp.start(conn)

    def _make_room(self) -> None:
        """Close the connection that has been logging in for longest: those that only wait must not keep others out."""
        for conn, tcp in self.tcp.items():
            if conn.session is None and not conn.refusal:
                tcp.close("it had not logged in, and there are as many connections as allowed")
                return

    def _gone(self, tcp: TcpConnection) -> None:
        conn = tcp.conn
        self.tcp.pop(conn, None)
        if self.threads is not None:
            self.threads.forget(tcp)
        self.callers.remove(conn.info.remote, bool(conn.refusal))
        self._dirty.pop(conn, None)
        self._told_gone(conn.info)
        if wanted(log, logging.INFO, _CLOSED):
            log.info(_CLOSED, extra={"remote": conn.info.remote, "reason": conn.close_reason})

    def _wake(self, conn: Connection) -> None:
        self._dirty[conn] = None

    def send_answers(self) -> None:
        """Send the answers that no received byte caused. With each wake-up of the loop."""
        while self._dirty:
            conn, _ = self._dirty.popitem()
            tcp = self.tcp.get(conn)
            if tcp is not None:
                tcp.flush_safely()
                self._dirty.pop(conn, None)  # it woke itself while it sent

    def on_time(self) -> None:
        """Look at the timers of all."""
        now = time.monotonic_ns()
        for tcp in list(self.tcp.values()):
            tcp.on_time(now)

    def stop_reading(self) -> None:
        """Read nothing more until :meth:`read_again`."""
        for tcp in list(self.tcp.values()):
            tcp.stop_reading()

    def read_again(self) -> None:
        """Take :meth:`stop_reading` back."""
        for tcp in list(self.tcp.values()):
            tcp.read_again()

    def close(self, reason: str) -> None:
        """Close all, whatever one of them raises."""
        with ExitStack() as stack:
            for tcp in list(self.tcp.values()):
                stack.callback(tcp.close, reason)

    def forget(self) -> None:
        """Wait no longer for peers that had their last answer."""
        self._draining.close()
