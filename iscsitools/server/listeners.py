"""The portals: listening sockets, and what is known of a socket that came in."""

from __future__ import annotations

import errno
import ipaddress
import logging
import select
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from iscsitools.config import PortalConfig
from iscsitools.errors import RunError
from iscsitools.iscsi.login.policy import Portal
from iscsitools.server.loop import Loop

log = logging.getLogger(__name__)

ACCEPTS_AT_ONCE: Final = 4
"""Connections that a portal accepts in one turn of the loop, so that a flood of them keeps nobody waiting."""
_PAUSE: Final = 1.0
"""Seconds for which nobody is accepted when the process is out of descriptors."""
_PEERS_FAULT: Final = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
     errno.ENETUNREACH, errno.EOPNOTSUPP, errno.EPERM, errno.ETIMEDOUT, errno.EINTR}
)  # fmt: skip
"""What accept() may say of one connection that came to nothing; the next one may be well (accept(2))."""


class Listeners:
    """The listening sockets of all portals.

    ``accepted`` is called on the loop with each socket that came in, and the addresses of its two ends.
    """

    def __init__(
        self,
        loop: Loop,
        accepted: Callable[[socket.socket, str, str], None],
        inherited: Mapping[PortalConfig, list[socket.socket]],
    ) -> None:
        """``inherited``: portals that somebody else has opened for this process."""
        self._loop = loop
        self._accepted = accepted
        self._inherited = dict(inherited)
        self._sockets: dict[PortalConfig, list[socket.socket]] = {}
        self._in_line: set[socket.socket] = set()
        """Those whose turn has been asked for."""
        self._own: dict[socket.socket, str] = {}
        """The address of each, where it is that of all that come in by it: it listens on one only."""
        self._paused = False

    def open(self, portals: Collection[PortalConfig]) -> None:
        """Listen. Raises RunError, and what is open then waits for ``close``."""
        for portal in portals:
            own = self._inherited.pop(portal, None)
            self.add(portal, own or listen(portal, portals))
        for sockets in self._inherited.values():  # of portals that are not wanted any more
            for sock in sockets:
                sock.close()
        self._inherited = {}

    def add(self, portal: PortalConfig, sockets: list[socket.socket]) -> None:
        """Take the sockets of :func:`listen` for a portal; nobody is accepted before ``start``."""
        self._sockets.setdefault(portal, []).extend(sockets)
        for sock in sockets:
            _have_inherited(sock)
            address = address_text(sock.getsockname(), scoped=True)
            self._own[sock] = "" if address.startswith(("0.0.0.0:", "[::]:")) or "%" in address else address

    def remove(self, portal: PortalConfig) -> None:
        """Accept nobody at a portal any more; connections that came by it go on."""
        for sock in self._sockets.pop(portal, []):
            self._close(sock)

    def rename(self, portal: PortalConfig) -> None:
        """Tell initiators of a portal as another address."""
        old = next(each for each in self._sockets if each.place == portal.place)
        self._sockets[portal] = self._sockets.pop(old)

    @property
    def addresses(self) -> list[str]:
        """``ADDRESS:PORT`` of all sockets."""
        return [address_text(sock.getsockname(), scoped=True) for found in self._sockets.values() for sock in found]

    @property
    def portals(self) -> list[Portal]:
        """What initiators come in by."""
        return [_by_socket(portal, sock) for portal, found in self._sockets.items() for sock in found]

    def portals_of(self, portal: PortalConfig) -> list[Portal]:
        """The same of one portal."""
        return [_by_socket(portal, sock) for sock in self._sockets.get(portal, [])]

    def start(self, portal: PortalConfig | None = None) -> None:
        """Accept from now on, at one portal or at all."""
        self._paused = self._paused and portal is not None
        for each, sockets in self._sockets.items():
            if portal is None or each == portal:
                for sock in sockets:
                    self._watch(sock)

    def pause(self) -> None:
        """Accept nobody until ``start``: who comes waits in the system's queue."""
        for sockets in self._sockets.values():
            for sock in sockets:
                self._loop.remove_reader(sock.fileno())
        self._paused = True

    def all(self) -> list[tuple[PortalConfig, socket.socket]]:
        """Every listening socket with its portal."""
        return [(portal, sock) for portal, found in self._sockets.items() for sock in found]

    def close(self) -> None:
        """Accept nobody any more. May be called again."""
        for sockets in (*self._sockets.values(), *self._inherited.values()):
            for sock in sockets:
                self._close(sock)
        self._sockets = {}
        self._inherited = {}

    def _close(self, sock: socket.socket) -> None:
        self._own.pop(sock, None)
        self._loop.remove_reader(sock.fileno())
        sock.close()

    def _watch(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0 and not self._paused:
            self._loop.add_reader(sock.fileno(), partial(self._take_place, sock))

    def _take_place(self, listener: socket.socket) -> None:
        """Somebody has come: accept when the loop comes to it."""
        if listener not in self._in_line:
            self._in_line.add(listener)
            self._loop.next_turn(partial(self._accept, listener))

    def _accept(self, listener: socket.socket) -> None:
        self._in_line.discard(listener)
        if listener.fileno() < 0 or self._paused:
            return
        for number in range(ACCEPTS_AT_ONCE):
            if number and not _waits(listener):
                return
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _PEERS_FAULT:
                    continue
                # Out of descriptors: stop listening for a moment rather than turn in circles.
                log.warning("cannot accept a connection: %s", error.strerror)
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(_PAUSE, partial(self._watch, listener))
                return
            local = self._own[listener] or address_text(sock.getsockname(), scoped=True)
            self._accepted(sock, local, address_text(peer))


def _waits(listener: socket.socket) -> bool:
    """Whether somebody waits to be accepted.

    A tenth of what accept() takes where nobody does: the system makes a socket before it looks.
    """
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _have_inherited(listener: socket.socket) -> None:
    """Set what accepted sockets take over: answers leave at once, and a peer that vanished is noticed."""
    if sys.platform == "linux":
        _set_options(listener)


def _by_socket(portal: PortalConfig, sock: socket.socket) -> Portal:
    host, _, port = address_text(sock.getsockname(), scoped=True).rpartition(":")
    both = host == "[::]" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return Portal("" if both else host.strip("[]"), int(port), portal.group, portal.told(int(port)))


def listen(portal: PortalConfig, among: Iterable[PortalConfig] = ()) -> list[socket.socket]:
    """Listen on all addresses that a portal's host stands for. Raises RunError with one line.

    ``::`` is all addresses of both families, unless ``among`` has a portal of IPv4 with the same port.
    """
    both = portal.host == "::" and not any(":" not in each.host and each.port == portal.port != 0 for each in among)
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(portal.host, portal.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise RunError(f"portal {portal}: {error.strerror}") from None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        sock = socket.socket(family, kind, protocol)
        sockets.append(sock)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            sock.bind(address)
            sock.listen(128)
            sock.setblocking(False)
        except OSError as error:
            for other in sockets:
                other.close()
            raise RunError(f"portal {portal}: {error.strerror or error}") from None
    return sockets


def address_text(address: Any, scoped: bool = False) -> str:
    """``192.0.2.7:3260`` or ``[2001:db8::7]:3260`` of a socket's address.

    ``scoped``: a link-local one with the name of its interface, ``[fe80::7%eth0]:3260``.
    """
    host, port = address[0], address[1]
    if ":" not in host:
        return f"{host}:{port}"
    plain = ipaddress.ip_address(host.partition("%")[0])
    mapped = plain.ipv4_mapped if isinstance(plain, ipaddress.IPv6Address) else None
    shown = str(mapped or plain)
    if scoped and plain.is_link_local and len(address) == 4 and address[3]:
        with suppress(OSError):  # the interface is gone
            shown += f"%{socket.if_indextoname(address[3])}"
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def prepare(sock: socket.socket) -> None:
    """Set the options of an accepted socket, beside those that it has from its listener."""
    sock.setblocking(False)
    if sys.platform != "linux":
        _set_options(sock)


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
