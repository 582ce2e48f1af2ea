"""A running target: portals, connections, sessions, and an orderly end."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from iscsitools.config import Config
from iscsitools.errors import RunError, UserError
from iscsitools.iscsi.buffers import Buffers
from iscsitools.iscsi.connection import Connection, Timers
from iscsitools.iscsi.handlers import Handlers
from iscsitools.iscsi.login_messages import LoginPending, LoginReply
from iscsitools.iscsi.login_phase import LoginHooks, LoginPhase
from iscsitools.iscsi.node import Directory, Portal
from iscsitools.iscsi.pdu import AsyncEvent
from iscsitools.iscsi.requests import async_message
from iscsitools.iscsi.session import Session, SessionTable
from iscsitools.observers import Lifecycle, ObserverFeed, SessionNotice, TargetNotice
from iscsitools.plugins import PluginManager
from iscsitools.probes.sites import Probes
from iscsitools.provider.backend import choose
from iscsitools.provider.subscriber import ProviderSubscriber
from iscsitools.server.assemble import assemble, auth_policy, negotiation_limits
from iscsitools.server.link import Link
from iscsitools.server.listeners import address_text, connection_info, listen, prepare
from iscsitools.server.loop import Loop
from iscsitools.server.state import ServerState
from iscsitools.server.workers import Workers
from iscsitools.trace.names import NameInUse
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.server.service import TraceServer

log = logging.getLogger(__name__)

_LOGOUT_GRACE: Final = 2.0
"""Seconds that initiators have to log out when the server ends."""
_ACCEPTS: Final = 16
"""Connections accepted in one go, so that a flood of them does not starve the others."""


class Server:
    """Serves a configuration until :meth:`shut_down`. Everything but ``shut_down`` belongs to the loop's thread."""

    def __init__(self, config: Config, plugins: PluginManager) -> None:
        """Open backstores and portals; raises UserError, and then nothing stays open."""
        self.config = config
        self.loop = Loop()
        self.probes = Probes(time.monotonic_ns, self._subscriber_failed)
        self.started = time.time()
        self.links: dict[Connection, Link] = {}
        self.addresses: list[str] = []
        self.stuck = False
        """At the end: a backstore call did not return, so the process has to be left by force."""
        limits = config.limits
        self.table = SessionTable(limits.max_sessions)
        self._plugins = plugins
        self._lifecycle = Lifecycle(plugins.calls)
        self._feeds: list[ObserverFeed] = []
        self._listeners: list[socket.socket] = []
        self._buffers = Buffers(limits.buffer_memory)
        self._logins = Workers(self.loop, 4, "login")
        self._timers = Timers(
            int(limits.login_timeout * 1e9), int(limits.nop_interval * 1e9), int(limits.nop_timeout * 1e9)
        )
        self._dirty: dict[Connection, None] = {}
        self._connections = 0
        self._ending = False
        self.assembly = assemble(config.targets, plugins.registry, plugins.authenticators, self.loop)
        try:
            for portal in config.portals:
                self._listeners += listen(portal)
            self.addresses = [address_text(sock.getsockname()) for sock in self._listeners]
            directory = Directory(
                [Portal(str(s.getsockname()[0]), int(s.getsockname()[1])) for s in self._listeners],
                auth_policy(config.discovery, plugins.authenticators),
            )
        except UserError:
            self._close_stores()
            raise
        for target in self.assembly.targets:
            directory.add(target)
        hooks = LoginHooks(os.urandom, self._look_up, self._session_opened, self._session_closed, self._login_failed)
        login = LoginPhase(directory, negotiation_limits(limits), self.table, limits.command_window, hooks)
        self._handlers = Handlers(login)
        self.login = login
        self.trace = self._open_trace()
        self._provider = choose(config.provider)
        for warning in self._provider.warnings:
            log.warning(warning)

    def _open_trace(self) -> TraceServer | None:
        """The sockets for those who watch. A name that is taken is an error; without a place for them we serve on."""
        name = self.config.name or f"iscsi{os.getpid()}"
        try:
            return TraceServer(self.probes, name, group=self.config.watch_group, state=ServerState(self))
        except NameInUse as error:
            self._close_stores()
            raise RunError(str(error)) from None
        except TraceError as error:
            log.warning("nobody can watch this server: %s", error)
            return None

    def run(self, on_ready: Callable[[list[str]], None]) -> None:
        """Serve; ``on_ready`` is called with the portals' addresses once connections are accepted."""
        for sock in self._listeners:
            self.loop.add_reader(sock.fileno(), lambda sock=sock: self._accept(sock))  # type: ignore[misc]
        self.loop.each_wake_up.append(self._flush_dirty)
        self.loop.call_later(1.0, self._tick)
        if self.trace is not None:
            self.trace.register(self.loop)
        subscriber = ProviderSubscriber(self.probes, self._provider)
        if self._provider.names:
            self.loop.each_wake_up.append(subscriber.poll)
        self._feeds = [ObserverFeed(observer, name, self.probes) for name, observer in self._plugins.observers()]
        for target in self.assembly.targets:
            self._lifecycle.target_started(TargetNotice(target.name, tuple(self.addresses)))
        on_ready(self.addresses)
        try:
            self.loop.run()
        finally:
            subscriber.close()
            self._close()

    def shut_down(self) -> None:
        """End in an orderly way; the second call ends at once. May be called from any thread and signal handler."""
        self.loop.call_soon(self._begin_end)

    # -- connections

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors: stop listening for a moment rather than turn in circles.
                log.warning("cannot accept a connection: %s", error.strerror)
                self.loop.remove_reader(listener.fileno())
                self.loop.call_later(1.0, lambda: self._listen_again(listener))
                return
            self._adopt(sock)

    def _listen_again(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self.loop.add_reader(listener.fileno(), lambda: self._accept(listener))

    def _adopt(self, sock: socket.socket) -> None:
        if len(self.links) >= self.config.limits.max_connections:
            log.warning("connection refused: there are %d, as many as allowed", len(self.links))
            sock.close()
            return
        try:
            prepare(sock)
            info = connection_info(self._connections + 1, sock)
        except OSError:
            sock.close()  # gone before we came to it
            return
        self._connections += 1
        link = Link(self.loop, sock, self._gone)
        now = time.monotonic_ns()
        conn = Connection(info, self._buffers, self.probes, self._handlers, now, self._timers, self._wake)
        self.links[conn] = link
        link.start(conn)

    def _gone(self, link: Link) -> None:
        conn = link.conn
        self.links.pop(conn, None)
        self._dirty.pop(conn, None)
        if self.trace is not None:
            self.trace.connection_closed(conn.info.ident)
        log.info("connection closed remote=%s reason=%s", conn.info.remote, conn.close_reason)

    def _wake(self, conn: Connection) -> None:
        self._dirty[conn] = None

    def _flush_dirty(self) -> None:
        while self._dirty:
            conn, _ = self._dirty.popitem()
            link = self.links.get(conn)
            if link is not None:
                link.flush_safely()

    def _tick(self) -> None:
        now = time.monotonic_ns()
        for link in list(self.links.values()):
            link.on_time(now)
        self.loop.call_later(1.0, self._tick)

    # -- what login and plugins ask and tell

    def _look_up(self, conn: Connection, pending: LoginPending) -> None:
        found: list[bytes | None] = [None]

        def work() -> None:
            found[0] = pending.look_up()

        def done(error: BaseException | None) -> None:
            if error is not None:
                log.error("looking up a CHAP secret failed: %s: %s", type(error).__name__, error)
            if conn in self.links:
                self._handlers.login_answered(conn, found[0])

        self._logins.submit(work, done)

    def _session_opened(self, session: Session) -> None:
        log.info("session opened %s", _described(session))
        self._lifecycle.session_opened(_notice(session))

    def _session_closed(self, session: Session) -> None:
        log.info("session closed %s", _described(session))
        self._lifecycle.session_closed(_notice(session))

    def _login_failed(self, conn: Connection, reply: LoginReply) -> None:
        log.warning(
            "login failed remote=%s initiator=%s status=%04x reason=%s",
            conn.info.remote, conn.info.initiator, reply.status, reply.message,
        )  # fmt: skip

    def _subscriber_failed(self, subscriber: object, error: Exception) -> None:
        log.error("a probe subscriber failed and is detached: %s: %s", type(error).__name__, error)

    # -- the end

    def _begin_end(self) -> None:
        if self._ending:
            self.loop.stop()
            return
        self._ending = True
        for sock in self._listeners:
            self.loop.remove_reader(sock.fileno())
            sock.close()
        for conn in list(self.links):
            async_message(conn, AsyncEvent.LOGOUT_REQUEST, (0, 0, int(_LOGOUT_GRACE)))
            self._wake(conn)
        self._wait_for_logouts(time.monotonic() + _LOGOUT_GRACE, time.monotonic() + self.config.limits.exit_timeout)

    def _wait_for_logouts(self, grace: float, limit: float) -> None:
        """Until all are gone; or until the grace is over and no command is outstanding; or until the limit."""
        now = time.monotonic()
        busy = any(conn.commands or conn.out.unsent() for conn in self.links)
        if not self.links or now >= limit or (now >= grace and not busy):
            for link in list(self.links.values()):
                link.close("the server ends")
            self._wait_for_workers(limit)
        else:
            self.loop.call_later(0.05, lambda: self._wait_for_logouts(grace, limit))

    def _wait_for_workers(self, limit: float) -> None:
        running = sum(workers.running for _, _, workers in self.assembly.stores)
        if not running or time.monotonic() >= limit:
            self.loop.stop()
        else:
            self.loop.call_later(0.02, lambda: self._wait_for_workers(limit))

    def _close(self) -> None:
        for link in list(self.links.values()):
            link.close("the server ends")
        for target in self.assembly.targets:
            self._lifecycle.target_stopped(TargetNotice(target.name, tuple(self.addresses)))
        self._close_stores()
        if self.trace is not None:
            self.trace.close()
        for feed in self._feeds:
            feed.close()
        self._lifecycle.close()
        self.loop.close()

    def _close_stores(self) -> None:
        """Flush and close every backstore, each in a thread of its own: one that hangs does not keep the others."""
        for sock in self._listeners:
            sock.close()
        threads: list[tuple[str, threading.Thread]] = []
        for where, store, workers in self.assembly.stores:
            if workers.running:
                log.error("%s: %d calls of its backstore have not returned", where, workers.running)
                self.stuck = True
            thread = threading.Thread(target=_finish, args=(where, store, bool(workers.running)), daemon=True)
            thread.start()
            threads.append((where, thread))
            workers.close()
        limit = time.monotonic() + self.config.limits.exit_timeout
        for where, thread in threads:
            thread.join(max(0.1, limit - time.monotonic()))
            if thread.is_alive():
                log.error("%s: its backstore did not close in time", where)
                self.stuck = True


def _finish(where: str, store: object, stuck: bool) -> None:
    from iscsitools.backstores.base import Backstore

    assert isinstance(store, Backstore)
    try:
        if not store.capabilities.read_only:
            store.flush()
        if not stuck:
            store.close()
    except Exception as error:
        log.error("%s: flushing at the end failed: %s", where, error)


def _described(session: Session) -> str:
    remote = ",".join(conn.info.remote for conn in session.connections.values())
    target = session.target.name if session.target is not None else "discovery"
    return f"initiator={session.initiator} target={target} tsih={session.tsih:#06x} remote={remote}"


def _notice(session: Session) -> SessionNotice:
    remote = next((conn.info.remote for conn in session.connections.values()), "")
    target = session.target.name if session.target is not None else ""
    return SessionNotice(target, session.initiator, session.isid.hex(), session.tsih, remote)
