"""From a configuration to a process that serves it, until a signal ends it."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from iscsitools.config import Config
from iscsitools.errors import RunError, UserError
from iscsitools.plugins import PluginManager
from iscsitools.server.allocator import give_back_freed_memory
from iscsitools.server.server import Server
from iscsitools.server.service_manager import Notifier, inherited_portals
from iscsitools.server.successor import start_successor
from iscsitools.server.takeover import Predecessor

log = logging.getLogger(__name__)


def serve(
    config: Config, plugins: PluginManager, on_ready: Callable[[Server], None], predecessor: Predecessor | None = None
) -> int:  # fmt: skip
    """Serve until SIGINT or SIGTERM; returns the exit status. Raises UserError when it cannot start.

    ``on_ready`` is called once connections are accepted. A second signal ends without waiting for anybody. SIGHUP has
    the sizes of the disks read anew, unless it tells that the terminal is gone: then it ends too. A manager that
    started this process is told how it is; its sockets are the portals. When a backstore call never returned,
    the process is left here by force: its thread cannot be ended otherwise. ``predecessor``: the server that this one
    takes over from. SIGUSR2 has a new process take over from this one, of the version that is installed now.
    """
    _say_where_it_crashed()
    give_back_freed_memory()
    notifier, inherited = Notifier(os.environ), inherited_portals(os.environ)
    if inherited:
        config = replace(config, portals=tuple(inherited))
        log.info("portals of the service manager, in place of those of the configuration")
    if predecessor is not None:
        inherited = predecessor.portals
    try:
        server = Server(config, plugins, inherited, predecessor)
    except BaseException as error:
        if predecessor is not None:
            predecessor.failed(error if isinstance(error, UserError) else RunError(f"{type(error).__name__}: {error}"))
        raise
    server.handed_to = notifier.handed_to
    _serve_signals(server, notifier)
    # What was made up to here stays; with it out of the collector's sight a full collection is short.
    gc.freeze()

    def ready(_: object) -> None:
        on_ready(server)
        notifier.ready(server)

    server.run(ready)
    if server.shutdown.stuck:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)
    return 1 if server.shutdown.lost else 0


def _say_where_it_crashed() -> None:
    """Have a fatal signal write the Python stack of each thread: which plugin's module crashed, without a core dump.

    Only where standard error was open from the start: its number may be a disk's otherwise.
    """
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)


def _serve_signals(server: Server, notifier: Notifier) -> None:
    """Do what each signal asks for."""

    def end(*_: object) -> None:
        notifier.stopping()
        server.shut_down()

    server.loop.wake_on_signals()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    _serve_hangups(server)
    signal.signal(signal.SIGUSR2, lambda *_: start_successor(server.name, notifier.variables))


def _serve_hangups(server: Server) -> None:
    """Tell the two meanings of SIGHUP apart: somebody sent it, or the terminal was closed.

    A server that outlived its terminal would keep portal and disks, with nobody left who could press Ctrl-C. Under
    nohup, which has SIGHUP ignored, it is meant to outlive it.
    """
    ends = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()

    def hung_up(*_: object) -> None:
        if ends and not _has_terminal():
            server.shut_down()
        else:
            server.read_sizes()

    signal.signal(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    """Whether there is a controlling terminal, wherever input and output go."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
