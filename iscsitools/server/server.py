"""A running target: portals, connections, sessions, and an orderly end."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping

from iscsitools.config import Config, Limits, PortalConfig
from iscsitools.errors import RunError
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.iscsi.login.brake import Brake
from iscsitools.iscsi.login.messages import LoginPending
from iscsitools.iscsi.login.phase import LoginHooks, LoginPhase
from iscsitools.iscsi.login.policy import Directory
from iscsitools.iscsi.requests.dispatch import Dispatcher
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.lifecycle import Lifecycle, ServerNotice
from iscsitools.observers import ObserverFeed
from iscsitools.plugins import PluginManager
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.provider.backend import choose
from iscsitools.provider.subscriber import ProviderSubscriber
from iscsitools.server.assemble import Assembly, assemble, auth_policy, negotiation_limits
from iscsitools.server.callers import kept_free
from iscsitools.server.connections import Connections
from iscsitools.server.control import ControlRequests
from iscsitools.server.data_path import data_path_of, tracers_of
from iscsitools.server.data_threads import beside_threads, start_threads
from iscsitools.server.heritage import HandoverChannel
from iscsitools.server.kept_state import state_folder
from iscsitools.server.listeners import Listeners
from iscsitools.server.loop import Loop
from iscsitools.server.periodic import PeriodicWork
from iscsitools.server.secret_lookup import SecretLookups
from iscsitools.server.self_description import ServerState
from iscsitools.server.session_notices import SessionNotices
from iscsitools.server.shutdown import Shutdown
from iscsitools.server.sizes import read_sizes
from iscsitools.server.takeover import Predecessor
from iscsitools.server.view import View
from iscsitools.trace.feed.service import TraceServer
from iscsitools.trace.names import NameInUse
from iscsitools.trace.protocol import TraceError

log = logging.getLogger(__name__)


class Server:
    """Serves a configuration until :meth:`shut_down`. Only ``shut_down`` and ``read_sizes`` are for other threads."""

    def __init__(
        self, config: Config, plugins: PluginManager,
        inherited: Mapping[PortalConfig, list[socket.socket]] | None = None, predecessor: Predecessor | None = None,
    ) -> None:  # fmt: skip
        """Open backstores and portals; raises UserError, and then nothing stays open.

        ``inherited``: sockets that listen already, for portals of the configuration. ``predecessor``: the server that
        this one takes over from.
        """
        limits = config.limits
        self.config = config
        self.loop = Loop()
        self.probes = Probes(time.monotonic_ns, self._subscriber_failed)
        self.started = time.time()
        self.addresses: list[str] = []
        self.table = SessionTable(*_session_bounds(limits))
        self.assembly = Assembly()
        self.trace: TraceServer | None = None
        self.plugins = plugins
        self.lifecycle = Lifecycle(plugins.calls)
        self.notices = SessionNotices(self.lifecycle)
        self.view: View | None = None
        self.observer_feeds: list[ObserverFeed] = []
        self.buffers = Buffers(limits.buffer_memory)
        self.connections = Connections(self.loop, self.buffers, self.probes, limits, self._connection_gone)
        self.listeners = Listeners(self.loop, self.connections.adopt, inherited or {})
        self.secret_lookups = SecretLookups(self.loop, plugins.authenticators)
        self.control = ControlRequests(self)
        self.periodic = PeriodicWork(self)
        self.shutdown = Shutdown(self)
        self._take_timers(limits)
        self._predecessor = predecessor
        self.handover_channel: HandoverChannel | None = None
        self.holding = False
        """Another server takes over: nothing is read, nobody is accepted."""
        self.handed_to: Callable[[int], None] = lambda pid: None
        """Called with the process that has taken over, before this one ends."""
        try:
            self._open()
        except BaseException:
            self.shutdown.close()
            raise

    def _open(self) -> None:
        config, plugins, predecessor = self.config, self.plugins, self._predecessor
        plugins.configure({plugin.name: plugin.options for plugin in config.plugins})
        self.state = state_folder(config.state)
        assemble(
            self.assembly, config.targets, plugins.registry, plugins.authenticators, self.loop, self.state,
            sorted({portal.group for portal in config.portals}),
            predecessor.heritage if predecessor is not None else None,
        )  # fmt: skip
        self.listeners.open(config.portals)
        self.addresses = self.listeners.addresses
        self.login = self._make_login()
        self._dispatcher = Dispatcher(self.login)
        if predecessor is None:
            self.trace = self._open_trace()
        else:
            self.table.last = predecessor.heritage.tsih
            self.control.changer.generation = predecessor.heritage.generation
        data_path = data_path_of(config)
        tracers = tracers_of(data_path)
        self.connections.serve_by(self._dispatcher, data_path, start_threads(config, self.loop, tracers, self.probes))
        self._bound_memory(config.limits)
        self.probes.use_tracers(tracers, monotonic=sys.platform == "linux")
        self._provider = choose(config.provider)
        for note in self._provider.notes:
            log.info(note)
        for warning in self._provider.warnings:
            log.warning(warning)

    def _make_login(self) -> LoginPhase:
        limits, notices = self.config.limits, self.notices
        directory = Directory(self.listeners.portals, auth_policy(self.config.discovery, self.plugins.authenticators))
        for target in self.assembly.targets:
            directory.add(target)
        hooks = LoginHooks(
            os.urandom, self._look_up, notices.session_opened, notices.session_closed, notices.login_failed,
            notices.taken_over,
        )  # fmt: skip
        brake = Brake(limits.chap_failures)
        return LoginPhase(directory, negotiation_limits(limits), self.table, limits.command_window, hooks, brake)

    def _take_timers(self, limits: Limits) -> None:
        self.loop.busy_poll = limits.busy_poll / 1e6
        if self.connections.threads is not None:
            self.connections.threads.poll_busily(limits.busy_poll * 1000)
        self.periodic.take_timers(limits)

    def _bound_memory(self, limits: Limits) -> None:
        """The account is of what the data threads leave of ``buffer_memory``."""
        threads = self.connections.threads
        self.buffers.bound(beside_threads(limits.buffer_memory, len(threads.threads) if threads else 0))

    def take_limits(self, limits: Limits) -> None:
        """Take other limits: timers for connections that come, what is negotiated for sessions that begin.

        Nobody who is there already is sent away.
        """
        self.connections.take_limits(limits)
        self.table.change(*_session_bounds(limits))
        self._bound_memory(limits)
        self.shutdown.ending.seconds = limits.exit_timeout
        self._take_timers(limits)
        self.login.change(negotiation_limits(limits), limits.command_window, limits.chap_failures)

    def _open_trace(self) -> TraceServer | None:
        """The sockets for those who watch. A name that is taken is an error; without a place for them we serve on."""
        try:
            return TraceServer(
                self.probes, self.name, group=self.config.watch_group, state=ServerState(self), control=self.control
            )
        except NameInUse as error:
            if self._predecessor is None:
                raise RunError(str(error)) from None
            log.warning("nobody can watch this server: %s", error)
            return None
        except TraceError as error:
            log.warning("nobody can watch this server: %s", error)
            return None

    @property
    def name(self) -> str:
        """By which it is watched and changed."""
        return self.config.name or f"iscsi{os.getpid()}"

    @property
    def dropped(self) -> int:
        """Events and calls of hooks that plugins were too slow for."""
        return self.lifecycle.dropped + sum(feed.dropped for feed in self.observer_feeds)

    def run(self, on_ready: Callable[[list[str]], None]) -> None:
        """Serve; ``on_ready`` is called with the portals' addresses once connections are accepted."""
        subscriber = ProviderSubscriber(self.probes, self._provider)
        try:
            if self._predecessor is not None:
                self._predecessor.wait_for_its_end()
                self.trace = self._open_trace()
            self._start(subscriber)
            on_ready(self.addresses)
            self.loop.run()
        finally:
            self.shutdown.close(subscriber.close)

    def _start(self, subscriber: ProviderSubscriber) -> None:
        self.listeners.start()
        self.loop.each_wake_up.append(self.connections.send_answers)
        self.periodic.start()
        if self.trace is not None:
            self.trace.register(self.loop)
        if self._provider.names:
            self.loop.each_wake_up.append(subscriber.poll)
        for name, observer in self.plugins.observers():
            self.observer_feeds.append(ObserverFeed(observer, name, self.probes))
        self.view = View(self.loop, self.probes, ServerState(self), ServerNotice(self.name, tuple(self.addresses)))
        self.lifecycle.server_started(self.view)
        for config, target in zip(self.config.targets, self.assembly.targets, strict=True):
            self.notices.target_started(target, config, self.addresses)
        self.control.start()

    def shut_down(self) -> None:
        """End in an orderly way; the second call does not wait for initiators. For any thread and signal handler."""
        self.shutdown.ask()

    def read_sizes(self) -> None:
        """Read the size of every backstore anew and tell the initiators. For any thread and signal handler."""
        self.loop.call_soon(self._read_sizes)

    def _read_sizes(self) -> None:
        if not self.holding:
            read_sizes(self.assembly.units)

    # -- another server takes over (handover.py has the order)

    def hold(self) -> None:
        """Accept nobody and read nothing; what was read goes on to its end."""
        self.holding = True
        self.listeners.pause()
        self.connections.stop_reading()

    def go_on(self) -> None:
        """Take :meth:`hold` back."""
        self.holding = False
        log.warning("nobody has taken over: this server goes on")
        self.listeners.start()
        self.connections.read_again()
        self.shutdown.go_on()

    def leave(self, channel: HandoverChannel) -> None:
        """Close all connections and end, without a word to disks and reservations: they are another's.

        The other server serves when it sees that ``channel`` is closed, which is the last that this one does.
        """
        self.handover_channel = channel
        self.assembly.stores.clear()
        self.loop.stop()
        log.info("another server has taken over", extra={"pid": channel.peer})
        self.handed_to(channel.peer)

    # -- what connections, login and plugins ask and tell

    def _connection_gone(self, info: ConnectionInfo) -> None:
        if self.trace is not None:
            self.trace.connection_closed(info.ident)
        if self.view is not None:
            self.view.connection_closed(info.ident)

    def _look_up(self, conn: Connection, pending: LoginPending) -> None:
        def answered(secret: bytes | None) -> None:
            if conn in self.connections.tcp:
                self._dispatcher.login_answered(conn, secret)

        self.secret_lookups.ask(pending, answered)

    def _subscriber_failed(self, subscriber: object, error: Exception) -> None:
        log.error("a probe subscriber failed and is detached: %s: %s", type(error).__name__, error)


def _session_bounds(limits: Limits) -> tuple[int, int, int]:
    """What a table of sessions is bounded by."""
    free = kept_free(limits.max_sessions, limits.kept_free)
    return limits.max_sessions, limits.max_sessions_per_initiator, free
