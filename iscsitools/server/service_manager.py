"""What a service manager gives a server and is told by it: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).

Three small interfaces of systemd that others have taken over: variables of the environment, datagrams to a socket,
and descriptors that are open from 3 on. None of them needs a library. The variables are taken out of the environment,
so that no program which a plugin starts takes itself for the service.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from iscsitools.config import PortalConfig
from iscsitools.errors import RunError

if TYPE_CHECKING:
    from iscsitools.server.server import Server

_FIRST: Final = 3
"""The first descriptor that is handed over (SD_LISTEN_FDS_START)."""
_STATUS_SECONDS: Final = 10.0
"""How often the status line is written anew where no watchdog asks for more."""
_SEND_SECONDS: Final = 1.0
_GROUP: Final = re.compile(r"group-([1-9][0-9]{0,3})")

Environment = MutableMapping[str, str]


class Notifier:
    """Tells the service manager how the server is. Where there is none, it does nothing."""

    def __init__(self, environment: Environment) -> None:
        self.variables = {name: environment[name] for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC") if name in environment}
        """What a process has to find in its environment that takes over as this service."""
        path = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(microseconds) / 1e6 if meant and microseconds.isdecimal() else 0.0
        """Seconds of silence after which the manager takes the server for dead; 0: it never does."""

    def tell(self, **state: str) -> None:
        """Send assignments such as ``READY="1"``. A manager that does not listen is no reason to stop serving."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in state.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SEND_SECONDS)
            sock.sendto(message.encode(), self._address)

    def ready(self, server: Server) -> None:
        """Tell that connections are accepted; from now on the event loop itself tells that it turns."""
        if not self._address:
            return
        self.tell(READY="1", STATUS=status_line(server))
        # Three times in each period: a turn may be late, and one datagram lost.
        seconds = min(self.watchdog / 3, _STATUS_SECONDS) if self.watchdog else _STATUS_SECONDS

        def beat() -> None:
            server.loop.call_later(seconds, beat)
            self.tell(WATCHDOG="1", STATUS=status_line(server))

        server.loop.call_later(seconds, beat)

    def handed_to(self, process: int) -> None:
        """Tell that another process is the service now."""
        self.tell(MAINPID=str(process))

    def stopping(self) -> None:
        """Tell that the orderly end has begun. For signal handlers, too."""
        self.tell(STOPPING="1", STATUS="asks initiators to log out, then flushes")


def status_line(server: Server) -> str:
    """What ``systemctl status`` shows."""
    targets, sessions = len(server.assembly.targets), len(server.table)
    return (
        f"{targets} {'target' if targets == 1 else 'targets'} on {', '.join(server.addresses)}; "
        f"{sessions} {'session' if sessions == 1 else 'sessions'}"
    )


def inherited_portals(environment: Environment) -> dict[PortalConfig, list[socket.socket]]:
    """The listening sockets that the manager opened for this process, by the portals that they are.

    A socket that is named ``group-2`` (FileDescriptorName=) is in portal group 2, others are in group 1.
    Raises RunError for a descriptor that is no listening TCP socket, by the name that the socket unit gives it.
    """
    meant = environment.pop("LISTEN_PID", "") == str(os.getpid())
    count, names = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_FDNAMES", "").split(":")
    found: dict[PortalConfig, list[socket.socket]] = {}
    if not meant or not count.isdecimal():
        return found
    for index in range(int(count)):
        name = names[index] if index < len(names) and names[index] else f"number {index + 1}"
        portal, sock = _listening(_FIRST + index, name)
        found.setdefault(portal, []).append(sock)
    return found


def _listening(fd: int, name: str) -> tuple[PortalConfig, socket.socket]:
    problem = RunError(f"the service manager's socket {name} (descriptor {fd}) is no listening TCP socket")
    try:
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        raise problem from None
    if not listens or sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise problem
    sock.set_inheritable(False)
    sock.setblocking(False)
    host, port, *_ = sock.getsockname()
    group = _GROUP.fullmatch(name)
    return PortalConfig(host, port, int(group[1]) if group else 1), sock
