"""The orderly end of a server.

The order, all of it:

1. Nobody is accepted any more. Sessions get an Asynchronous Message that asks for logout (RFC 7143 11.9, event 1);
   connections that are still logging in are closed.
2. Initiators have 2 seconds to log out. Commands are served meanwhile.
3. Nothing more is read. What was received is served, backstore calls that run may return, and their answers go out,
   until the limit (``exit_timeout`` after the begin). Then all connections are closed, which aborts what is left.
4. Every backstore is flushed and closed, each in a thread of its own, until the limit, and for a second at least.

A second signal goes to the last step at once, and leaves it a second.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from iscsitools.backstores.base import Backstore
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.requests.nop_logout import async_message
from iscsitools.server.loop import Loop
from iscsitools.server.tcp_connection import TcpConnection
from iscsitools.server.workers import Workers
from iscsitools.wire.rfc7143 import AsyncEvent

log = logging.getLogger(__name__)

_LOGOUT_GRACE: Final = 2.0
_LEAST: Final = 1.0
_LOOK_AGAIN: Final = 0.02
REASON: Final = "the server ends"

OpenStore = tuple[str, Backstore, Workers]
"""Where it is served, for messages; the store; the threads that call it."""


class Ending:
    """Steps 1 to 3, on the loop's thread. ``limit``: when waiting has to end (``time.monotonic``).

    ``seconds``: how long that is from the begin.
    """

    def __init__(
        self, loop: Loop, tcp: dict[Connection, TcpConnection], running: Callable[[], int], seconds: float
    ) -> None:
        self.begun = False
        self.limit = 0.0
        self._loop = loop
        self._tcp = tcp
        self._running = running
        self.seconds = seconds

    def begin(self) -> None:
        """Ask the initiators to log out, then wait for them; the loop stops at the end of step 3."""
        self.begun = True
        now = time.monotonic()
        self.limit = now + self.seconds
        for conn, tcp in list(self._tcp.items()):
            if conn.session is None or not conn.session.full_feature:
                tcp.close(REASON)
            else:
                async_message(conn, AsyncEvent.LOGOUT_REQUEST, (0, 0, int(_LOGOUT_GRACE)))
                tcp.flush_safely()
        self._wait_for_logouts(min(now + _LOGOUT_GRACE, self.limit))

    def _wait_for_logouts(self, until: float) -> None:
        if self._tcp and time.monotonic() < until:
            self._loop.call_later(_LOOK_AGAIN, lambda: self._wait_for_logouts(until))
            return
        for tcp in list(self._tcp.values()):
            tcp.stop_reading()
        self._wait_for_calls()

    def _wait_for_calls(self) -> None:
        busy = self._running() or any(conn.is_at_work or conn.out.unsent() for conn in self._tcp)
        if busy and time.monotonic() < self.limit:
            self._loop.call_later(_LOOK_AGAIN, self._wait_for_calls)
            return
        self._loop.stop()


class StoreCloser:
    """Step 4."""

    def __init__(self) -> None:
        self._limit = float("inf")
        self._closed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.lost = False
        """A flush at the end failed: data that was acknowledged may be gone."""

    def hurry(self) -> None:
        """Leave the stores a second from now. May be called from any thread and signal handler."""
        self._limit = min(self._limit, time.monotonic() + _LEAST)
        self._closed.put(-1)

    def close(self, stores: Sequence[OpenStore], limit: float) -> bool:
        """Flush and close all stores; False when a call of one did not return before the limit."""
        self._limit = min(self._limit, max(limit, time.monotonic() + _LEAST))
        complete = True
        for number, (where, store, workers) in enumerate(stores):
            if workers.running:
                log.error("%s: %d calls of its backstore have not returned", where, workers.running)
                complete = False
            arguments = (number, where, store, bool(workers.running))
            workers.close()
            threading.Thread(target=self._finish, args=arguments, name="close", daemon=True).start()
        waiting = set(range(len(stores)))
        while waiting and (left := self._limit - time.monotonic()) > 0:
            try:
                waiting.discard(self._closed.get(timeout=left))
            except queue.Empty:
                break
        for number in sorted(waiting):
            log.error("%s: its backstore did not close in time", stores[number][0])
        return complete and not waiting

    def _finish(self, number: int, where: str, store: Backstore, in_use: bool) -> None:
        """Flush and close one store; one that has a call running is not closed under it."""
        try:
            capabilities = store.capabilities
            if capabilities.volatile_cache or not capabilities.read_only:
                store.flush()
        except BaseException as error:
            self.lost = True
            log.error("%s: flushing at the end failed: %s: %s", where, type(error).__name__, error)
        try:
            if not in_use:
                store.close()
        except BaseException as error:
            log.error("%s: closing failed: %s: %s", where, type(error).__name__, error)
        finally:
            self._closed.put(number)
