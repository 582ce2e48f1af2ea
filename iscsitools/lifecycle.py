"""What plugins are told of a server's life, and what they may ask a running server.

The event loop only puts a tuple into a bounded queue; one thread calls the hooks, in order. A hook that raises is
logged once, with its plugin's name, and is called again next time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from iscsitools.observers import QUEUE_LENGTH, Worker

if TYPE_CHECKING:
    from iscsitools.trace.sums.snapshot import Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """A server: the name by which it is watched and the ``address:port`` of its portals."""

    name: str
    portals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetNotice:
    """A target: its iSCSI name and the ``address:port`` of its portals."""

    name: str
    portals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LunNotice:
    """A logical unit of ``target``: its number, what it is made of (``file+cow``), and its size when it was told of."""

    target: str
    number: int
    backstore: str
    blocks: int
    block_size: int


@dataclass(frozen=True, slots=True)
class SessionNotice:
    """A session. ``target`` is empty for a discovery session; ``isid`` is 12 hex digits, ``tsih`` the number."""

    target: str
    initiator: str
    isid: str
    tsih: int
    remote: str


@dataclass(frozen=True, slots=True)
class LoginNotice:
    """A login that failed. ``status``: Status-Class << 8 | Status-Detail (RFC 7143 11.13.5), 0x0201 for a wrong secret.

    ``initiator`` and ``target`` are what was said, empty when nothing was; ``reason`` is a line for the log.
    """

    initiator: str
    target: str
    remote: str
    status: int
    reason: str


class ServerGone(Exception):
    """The server that was asked has ended, or did not answer within 10 seconds."""


class KeptSums(Protocol):
    """Sums that the server keeps for a plugin: those of ``iscsitools.trace.Sums``, with no socket in between."""

    def read(self, reset: bool = False) -> Snapshot:
        """Read the commands' rows; with ``reset`` the sums begin again from 0. Raises ServerGone.

        The rows of connections that were closed are kept until a read with ``reset``, 16384 of them at most. With
        ``reset`` the event loop reads one connection after the other, and others have their turn after half a
        millisecond: nobody waits for it. Without, it makes all rows at once, in some 10 us for each.
        """

    def close(self) -> None:
        """Let the server keep them no longer. More than once does nothing."""


class ServerView(Protocol):
    """What a plugin may ask a running server. Any thread may but the event loop's, where no code of plugins runs."""

    @property
    def notice(self) -> ServerNotice:
        """Its name and portals."""

    def status(self) -> dict[str, Any]:
        """Totals, commands in flight, CPU time: ``status`` of docs/trace-protocol.md. Raises ServerGone."""

    def sessions(self) -> list[dict[str, Any]]:
        """The sessions: ``sessions`` of docs/trace-protocol.md. Raises ServerGone."""

    def keep_sums(self) -> KeptSums:
        """Begin sums at 0. They cost each command what one reader of ``Sums`` costs. Raises ServerGone."""


HookCall = tuple[str, Callable[..., object]]
"""A plugin's name and its implementation of a hook, taking the hook's arguments by name."""


class Lifecycle:
    """Calls the hooks, in one thread, in order. ``calls(hook)`` lists who implements a hook."""

    def __init__(self, calls: Callable[[str], list[HookCall]], limit: int = QUEUE_LENGTH) -> None:
        self._calls = calls
        self._found: dict[str, list[HookCall]] = {}
        """Who implements a hook; nothing is queued for one that nobody does."""
        self._logged: set[tuple[str, str]] = set()
        self._worker = Worker("lifecycle hooks", limit, self._deliver)

    @property
    def dropped(self) -> int:
        """Calls that found the queue full."""
        return self._worker.dropped

    def server_started(self, server: ServerView) -> None:
        """Report that a server accepts connections."""
        self._put("server_started", {"server": server})

    def server_stopped(self, server: ServerNotice) -> None:
        """Report that it has closed its connections."""
        self._put("server_stopped", {"server": server})

    def target_started(self, target: TargetNotice) -> None:
        """Report that a target accepts logins."""
        self._put("target_started", {"target": target})

    def target_stopped(self, target: TargetNotice) -> None:
        """Report that a target accepts no logins any more."""
        self._put("target_stopped", {"target": target})

    def lun_added(self, lun: LunNotice) -> None:
        """Report that a logical unit can be used."""
        self._put("lun_added", {"lun": lun})

    def lun_removed(self, lun: LunNotice) -> None:
        """Report that a logical unit cannot be used any more."""
        self._put("lun_removed", {"lun": lun})

    def session_opened(self, session: SessionNotice) -> None:
        """Report that a session has reached the full feature phase."""
        self._put("session_opened", {"session": session})

    def session_closed(self, session: SessionNotice) -> None:
        """Report that a session has ended."""
        self._put("session_closed", {"session": session})

    def login_failed(self, login: LoginNotice) -> None:
        """Report that a login was answered with a status that ends it."""
        self._put("login_failed", {"login": login})

    def _put(self, hook: str, arguments: dict[str, object]) -> None:
        found = self._found.get(hook)
        if found is None:
            found = self._found[hook] = self._calls(hook)
        if found:
            self._worker.put((hook, arguments))

    def close(self, timeout: float = 1.0) -> None:
        """Let what is queued be delivered, for ``timeout`` seconds at most."""
        self._worker.close(timeout)

    def _deliver(self, item: tuple[str, dict[str, object]]) -> None:
        hook, arguments = item
        for plugin, call in self._found[hook]:
            try:
                call(**arguments)
            except BaseException:
                if (plugin, hook) not in self._logged:
                    self._logged.add((plugin, hook))
                    log.exception("plugin %s: %s raised; logged this once", plugin, hook)
