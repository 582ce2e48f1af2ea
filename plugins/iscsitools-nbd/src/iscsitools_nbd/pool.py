"""The connections to one export: made, watched, and made anew when the server was away. Used by one thread."""

from __future__ import annotations

import errno
import logging
import select
import time
from collections.abc import Callable
from types import ModuleType
from typing import Final

from iscsitools_nbd.commands import Command
from iscsitools_nbd.connection import Connection, Export

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


class Pool:
    """All connections, which live and end together: a flush on one has to cover what the others have written.

    When one is lost, nothing is sent any more; the others are closed when their last answers are there. Then all are
    made anew, as often as it takes.
    """

    def __init__(self, nbd: ModuleType, uri: str, shown: str, wanted: int, patience: float) -> None:
        """``shown``: the URI for log lines. ``wanted``: connections. ``patience``: seconds."""
        self._nbd = nbd
        self._uri = uri
        self._shown = shown
        self._wanted = wanted
        self._patience = patience
        self._away_since: float | None = None
        self._coming = False  # the connections are new ones, and not all ready
        self._coming_until = 0.0
        self._next_try = 0.0
        self._pause = _FIRST_PAUSE
        self._complained = False
        self.connections: list[Connection] = []
        self.again: list[Command] = []
        """What was under way on connections that were lost, in no order: none of these touches another."""
        self.size_changed: Callable[[], None] = _nothing
        """Called when the server has come back with another size."""
        self.export: Export
        """What the server has said when the newest connection was made."""

    def open(self) -> None:
        """Connect, and wait for that, up to ``patience``. Raises OSError with a text for the user."""
        deadline = time.monotonic() + self._patience
        first = self._connect(deadline)
        self.export = first.export()
        self.connections = [first]
        if self.export.can_multi_conn or self.export.read_only:
            self.connections += [self._connect(deadline) for _ in range(self._wanted - 1)]
        else:
            self._wanted = 1

    def _connect(self, deadline: float) -> Connection:
        try:
            connection = Connection(self._nbd, self._uri, self._patience)
            while not connection.is_ready:
                if connection.is_lost:
                    raise ConnectionError(errno.ECONNRESET, "the server ended the connection")
                poll = select.poll()
                poll.register(connection, connection.events())
                left = deadline - time.monotonic()
                ready = poll.poll(left * 1000) if left > 0 else []
                if not ready:
                    raise TimeoutError(errno.ETIMEDOUT, "no answer")
                connection.move_on(ready[0][1])
        except self._nbd.Error as error:
            raise OSError(error.errnum or errno.EIO, _text(error)) from None
        return connection

    @property
    def is_away(self) -> bool:
        """Whether there is no server to send to. For any thread."""
        return self._away_since is not None

    @property
    def is_patient(self) -> bool:
        """Whether the server is there, or has not been away for longer than its commands wait."""
        return self._away_since is None or time.monotonic() < self._away_since + self._patience

    def milliseconds(self) -> float | None:
        """Until :meth:`look_after` has something to do without an event; None: nothing."""
        if self._away_since is None:
            return None
        times = []
        if self._coming or not self.connections:
            times.append(self._coming_until if self._coming else self._next_try)
        if self.is_patient:
            times.append(self._away_since + self._patience)
        return max(0.0, min(times) - time.monotonic()) * 1000 + 1 if times else None

    def go_away(self) -> None:
        """Send nothing any more, and make the connections anew when all is answered."""
        if self._away_since is None:
            self._away_since = self._next_try = time.monotonic()

    def look_after(self) -> bool:
        """Close what is lost and connect anew, as far as that goes without waiting. True: the server has come back."""
        lost = [connection for connection in self.connections if connection.is_lost]
        if lost:
            self.go_away()
        if self._away_since is None:
            return False
        if self._coming:
            if lost or time.monotonic() > self._coming_until:
                self.lose_all()
            elif all(connection.is_ready for connection in self.connections):
                self._is_back()
                return True
        else:  # the old ones: each until its last answer is there, or until nobody waits any more
            for connection in list(self.connections):
                if connection in lost or not connection.requests or not self.is_patient:
                    self._lose(connection)
        if not self.connections:
            self._begin_again()
        return False

    def move_on(self, connection: Connection, events: int) -> None:
        """The connection's socket is ready."""
        try:
            connection.move_on(events)
        except self._nbd.Error as error:
            self._complain(_text(error))

    def send(self, connection: Connection, command: Command) -> None:
        """Send a command; one that cannot be sent is finished at once."""
        try:
            connection.send(command)
        except self._nbd.Error as error:
            command.failure = error.errnum or errno.EIO
            connection.finished.append(command)

    def _begin_again(self) -> None:
        """Begin to connect, if it is time to."""
        now = time.monotonic()
        if now < self._next_try:
            return
        self._next_try = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        try:
            for _ in range(self._wanted):
                self.connections.append(Connection(self._nbd, self._uri, self._patience))
        except self._nbd.Error as error:
            self._complain(_text(error))
            self.lose_all()
            return
        self._coming = True
        self._coming_until = now + self._patience

    def _is_back(self) -> None:
        self._coming = False
        self._away_since = None
        self._pause = _FIRST_PAUSE
        before, self.export = self.export, self.connections[0].export()
        if self._complained:
            self._complained = False
            log.warning("nbd: %s is back", self._shown)
        if before.size != self.export.size:
            log.warning("nbd: %s has %d bytes now, %d before", self._shown, self.export.size, before.size)
            self.size_changed()

    def lose_all(self) -> None:
        """Close all connections; they are made anew."""
        self._coming = False
        self.go_away()
        for connection in list(self.connections):
            self._lose(connection)

    def _lose(self, connection: Connection) -> None:
        self.again += [*connection.finished, *connection.requests]
        connection.finished = []
        self.connections.remove(connection)
        connection.close()

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning("nbd: %s is away: %s", self._shown, why)


def _nothing() -> None:
    """Nobody wants to know."""


def _text(error: Exception) -> str:
    """What the library says, without the name of its function."""
    text = str(error.args[0]) if error.args else str(error)
    return text.partition(": ")[2] or text
