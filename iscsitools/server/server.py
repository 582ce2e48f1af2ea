"""A running target: portals, connections, sessions, and an orderly end."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import ModuleType

from iscsitools.backstores.ring import refusal
from iscsitools.config import Config, Limits, PortalConfig
from iscsitools.errors import RunError
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.datapath import DataPath
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
from iscsitools.server.data_path import NoNativeError, tracers_of
from iscsitools.server.data_path import choose as choose_data_path
from iscsitools.server.data_threads import DataThreads, unsupported, useful
from iscsitools.server.ending import REASON, Ending, StoreCloser
from iscsitools.server.health import LimitWatch
from iscsitools.server.heritage import HandoverChannel
from iscsitools.server.kept_state import state_folder
from iscsitools.server.listeners import Listeners
from iscsitools.server.loop import Loop
from iscsitools.server.secret_lookup import Lookups
from iscsitools.server.self_description import ServerState
from iscsitools.server.session_notices import Notices
from iscsitools.server.sizes import read_sizes
from iscsitools.server.sums_memory import SumsMemory
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
        self.stuck = False
        """At the end: a backstore call did not return, so the process has to be left by force."""
        self.lost = False
        """At the end: a backstore could not be flushed."""
        self.table = SessionTable(
            limits.max_sessions, limits.max_sessions_per_initiator, kept_free(limits.max_sessions, limits.kept_free)
        )
        self.assembly = Assembly()
        self.trace: TraceServer | None = None
        self.plugins = plugins
        self._lifecycle = Lifecycle(plugins.calls)
        self.notices = Notices(self._lifecycle)
        self._view: View | None = None
        self._feeds: list[ObserverFeed] = []
        self.buffers = Buffers(limits.buffer_memory)
        self.connections = Connections(self.loop, self.buffers, self.probes, limits, self._connection_gone)
        self.listeners = Listeners(self.loop, self.connections.adopt, inherited or {})
        self._sums_memory = SumsMemory(self.buffers)
        self._lookups = Lookups(self.loop, plugins.authenticators)
        self._take_timers(limits)
        self._control = ControlRequests(self)
        self.limits = LimitWatch(self)
        self._ending = Ending(self.loop, self.connections.links, self._calls_running, limits.exit_timeout)
        self._closer = StoreCloser()
        self._closing = False
        self._predecessor = predecessor
        self._channel: HandoverChannel | None = None
        self._end_wanted = False
        self.holding = False
        """Another server takes over: nothing is read, nobody is accepted."""
        self.handed_to: Callable[[int], None] = lambda pid: None
        """Called with the process that has taken over, before this one ends."""
        try:
            self._open()
        except BaseException:
            self._close()
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
        directory = Directory(self.listeners.portals, auth_policy(config.discovery, plugins.authenticators))
        for target in self.assembly.targets:
            directory.add(target)
        notices = self.notices
        hooks = LoginHooks(
            os.urandom, self._look_up, notices.session_opened, notices.session_closed, notices.login_failed,
            notices.taken_over,
        )  # fmt: skip
        limits = config.limits
        brake = Brake(limits.chap_failures)
        self.login = LoginPhase(directory, negotiation_limits(limits), self.table, limits.command_window, hooks, brake)
        self._dispatcher = Dispatcher(self.login)
        if predecessor is None:
            self.trace = self._open_trace()
        else:
            self.table.last = predecessor.heritage.tsih
            self._control.changer.generation = predecessor.heritage.generation
        data_path = self._choose_data_path()
        self.connections.serve_by(self._dispatcher, data_path, self._start_threads(tracers_of(data_path)))
        self.probes.use_tracers(tracers_of(data_path), monotonic=sys.platform == "linux")
        self._provider = choose(config.provider)
        for note in self._provider.notes:
            log.info(note)
        for warning in self._provider.warnings:
            log.warning(warning)

    def _take_timers(self, limits: Limits) -> None:
        self.loop.busy_poll = limits.busy_poll / 1e6
        if self.connections.threads is not None:
            self.connections.threads.poll_busily(limits.busy_poll * 1000)
        timers = (limits.login_timeout, limits.nop_interval, limits.nop_timeout, limits.data_out_timeout)
        self._tick_seconds = max(0.05, min([1.0, *(seconds / 4 for seconds in timers if seconds)]))

    def take_limits(self, limits: Limits) -> None:
        """Take other limits: timers for connections that come, what is negotiated for sessions that begin.

        Nobody who is there already is sent away.
        """
        self.connections.take_limits(limits)
        self.table.change(
            limits.max_sessions, limits.max_sessions_per_initiator, kept_free(limits.max_sessions, limits.kept_free)
        )
        self.buffers.limit = limits.buffer_memory
        self._ending.seconds = limits.exit_timeout
        self._take_timers(limits)
        self.login.change(negotiation_limits(limits), limits.command_window, limits.chap_failures)

    def _choose_data_path(self) -> type[DataPath]:
        try:
            data_path, line = choose_data_path(self.config.data_path)
        except NoNativeError as error:
            raise RunError(f"data_path native: {error}") from None
        if line:
            log.info(line)
        if reason := refusal():
            log.info("no io_uring (%s): what is not in the page cache goes to worker threads, which costs more", reason)
        return data_path

    def _start_threads(self, module: ModuleType | None) -> DataThreads | None:
        """The data threads that were asked for; None: the loop's thread serves all."""
        count = self.config.threads or useful(module)
        if count == 1:
            return None
        if reason := unsupported(module):
            raise RunError(f"threads {count}: {reason}")
        assert module is not None
        threads = DataThreads(self.loop, module, count, self.probes)
        threads.poll_busily(self.config.limits.busy_poll * 1000)
        return threads

    def _open_trace(self) -> TraceServer | None:
        """The sockets for those who watch. A name that is taken is an error; without a place for them we serve on."""
        try:
            return TraceServer(
                self.probes, self.name, group=self.config.watch_group, state=ServerState(self), control=self._control
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
        return self._lifecycle.dropped + sum(feed.dropped for feed in self._feeds)

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
            self._close(subscriber.close)

    def _start(self, subscriber: ProviderSubscriber) -> None:
        self.listeners.start()
        self.loop.each_wake_up.append(self.connections.send_answers)
        self.loop.call_later(self._tick_seconds, self._tick)
        if self.trace is not None:
            self.trace.register(self.loop)
        if self._provider.names:
            self.loop.each_wake_up.append(subscriber.poll)
        for name, observer in self.plugins.observers():
            self._feeds.append(ObserverFeed(observer, name, self.probes))
        self._view = View(self.loop, self.probes, ServerState(self), ServerNotice(self.name, tuple(self.addresses)))
        self._lifecycle.server_started(self._view)
        for config, target in zip(self.config.targets, self.assembly.targets, strict=True):
            self.notices.target_started(target, config, self.addresses)
        self._control.start()

    def shut_down(self) -> None:
        """End in an orderly way; the second call does not wait for initiators. For any thread and signal handler."""
        if self._closing:
            self._closer.hurry()
        else:
            self.loop.call_soon(self._begin_end)

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
        if self._end_wanted:
            self._begin_end()

    def leave(self, channel: HandoverChannel) -> None:
        """Close all connections and end, without a word to disks and reservations: they are another's.

        The other server serves when it sees that ``channel`` is closed, which is the last that this one does.
        """
        self._channel = channel
        self.assembly.stores.clear()
        self.loop.stop()
        log.info("another server has taken over", extra={"pid": channel.peer})
        self.handed_to(channel.peer)

    # -- the clock

    def _tick(self) -> None:
        self.loop.call_later(self._tick_seconds, self._tick)
        if not self.holding:
            self.connections.on_time()
            for target in self.assembly.targets:
                target.device.look()
        self._count_sums()
        self.limits.look()
        if self.trace is not None and (line := self.trace.look_after()):
            log.warning(line)

    def _count_sums(self) -> None:
        """What readers and plugins have summed up goes into the account, and out of it again."""
        readers = self.trace.held() if self.trace is not None else []
        plugins = self._view.held() if self._view is not None else []
        self._sums_memory.take((*readers, *plugins))

    # -- what connections, login and plugins ask and tell

    def _connection_gone(self, info: ConnectionInfo) -> None:
        if self.trace is not None:
            self.trace.connection_closed(info.ident)
        if self._view is not None:
            self._view.connection_closed(info.ident)

    def _look_up(self, conn: Connection, pending: LoginPending) -> None:
        def answered(secret: bytes | None) -> None:
            if conn in self.connections.links:
                self._dispatcher.login_answered(conn, secret)

        self._lookups.ask(pending, answered)

    def _subscriber_failed(self, subscriber: object, error: Exception) -> None:
        log.error("a probe subscriber failed and is detached: %s: %s", type(error).__name__, error)

    # -- the end

    def _begin_end(self) -> None:
        for target in self.assembly.targets:
            target.device.end()
        if self._ending.begun:
            self._closer.hurry()
            self.loop.stop()
            return
        if self.holding:  # first it has to be known whose the disks are
            self._end_wanted = True
            return
        self.listeners.close()
        self._ending.begin()

    def _calls_running(self) -> int:
        return sum(workers.running for _, _, workers in self.assembly.stores)

    def _close(self, *steps: Callable[[], None]) -> None:
        """Close everything, ``steps`` too, whatever one of them raises; connections first, the loop last."""
        self._closing = True
        with ExitStack() as stack:
            if self._channel is not None:
                stack.callback(self._channel.close)
            stack.callback(self.loop.close)
            stack.callback(self.connections.forget)
            stack.callback(self._lookups.close)
            if self.assembly.keeper is not None:
                stack.callback(self.assembly.keeper.close)
            stack.callback(self._lifecycle.close)
            if self._view is not None:
                stack.callback(self._lifecycle.server_stopped, self._view.notice)
            for step in (*steps, *(feed.close for feed in self._feeds)):
                stack.callback(step)
            if self.trace is not None:
                stack.callback(self.trace.close)
            stack.callback(self._close_stores)
            stack.callback(self._control.close)
            stack.callback(self.notices.targets_stopped)
            if self.connections.threads is not None:
                stack.callback(self.connections.threads.close)
            stack.callback(self.connections.close, REASON if self._channel is None else "another server takes over")
            stack.callback(self.listeners.close)
            if self._view is not None:
                stack.callback(self._view.close)

    def _close_stores(self) -> None:
        limit = self._ending.limit if self._ending.begun else time.monotonic() + self.config.limits.exit_timeout
        self.stuck = not self._closer.close(self.assembly.stores, limit)
        self.lost = self._closer.lost
