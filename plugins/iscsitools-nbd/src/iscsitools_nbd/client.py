"""The client: one thread that owns all connections to the export, and what becomes of requests when one is lost.

Other threads only put requests into a queue and ring a bell. So nothing here needs a lock, and no call of libnbd waits
for one: its handles have a lock each, which a blocking call would hold until its answer is there.

When a connection is lost, nothing is sent any more until the others' answers are there or they are lost too. Then all
are made anew; what was answered since the last flush is made again first (see :mod:`.changes`), then what was under way
is sent again. Requests wait for that ``patience`` long, then they fail; whenever the server is back, it goes on.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import threading
from collections import deque
from types import ModuleType
from typing import Final

from iscsitools_nbd.changes import Changes
from iscsitools_nbd.commands import Command, Kind
from iscsitools_nbd.connection import Connection
from iscsitools_nbd.pool import Pool

log = logging.getLogger(__name__)

_TRIES: Final = 5  # a request that ends connection after connection is not sent for ever
_DEPTH: Final = 64  # requests under way on one connection; more wait here, in their order


class Client:
    """Requests to one export. :meth:`submit` may be called by any thread; ``done`` is called by the client's."""

    def __init__(self, nbd: ModuleType, uri: str, shown: str, connections: int, patience: float, keep: int) -> None:
        """``shown``: the URI for log lines. ``patience``: seconds. ``keep``: bytes of unflushed changes."""
        self._shown = shown
        self._keep = keep
        self.pool = Pool(nbd, uri, shown, connections, patience)
        self._queue: deque[Command] = deque()
        self._bell, self._ring = os.pipe()
        for end in (self._bell, self._ring):
            os.set_blocking(end, False)
        self._rung = False
        self._closing = False
        self._waiting: list[Command] = []
        self._changes = Changes()
        self._flush_failure = 0
        self._flushing = False
        self._thread = threading.Thread(target=self._run, name=f"nbd {shown}", daemon=True)

    def open(self) -> None:
        """Connect, and wait for that. Raises OSError with a text for the user."""
        try:
            self.pool.open()
        except OSError:
            self._close_pipe()
            raise
        self._thread.start()

    def close(self) -> None:
        """End the connections; what is under way or waits fails."""
        self._closing = True
        self._wake()
        self._thread.join()
        self._close_pipe()

    def _close_pipe(self) -> None:
        for end in (self._bell, self._ring):
            os.close(end)

    def submit(self, request: Command) -> None:
        """Have a request sent. For any thread."""
        self._queue.append(request)
        if not self._rung:
            self._wake()

    def _wake(self) -> None:
        self._rung = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._ring, b"\0")

    # All below: the client's own thread

    def _run(self) -> None:
        while not self._closing:
            try:
                self._take_in()
                self._look_after()
                self._send()
                self._answer()
                self._wait()
            except Exception:
                # Nobody else would answer the requests: whatever it is, the connections are made anew.
                log.exception("nbd: %s: the connections are made anew", self._shown)
                self.pool.lose_all()
        self._take_in()
        self.pool.lose_all()
        self._waiting += self.pool.again
        self._fail_waiting(OSError(errno.ENODEV, "the disk is closed"))

    def _take_in(self) -> None:
        self._rung = False  # before the queue is emptied: who comes later rings
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 4096)
        while self._queue:
            self._waiting.append(self._queue.popleft())

    def _wait(self) -> None:
        if self._rung or self._queue:
            return
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        by_number: dict[int, Connection] = {}
        for connection in self.pool.connections:
            number = connection.fileno()
            if number >= 0:
                poll.register(number, connection.events())
                by_number[number] = connection
        for number, events in poll.poll(self.pool.milliseconds()):
            if number in by_number:
                self.pool.move_on(by_number[number], events)
        self._answer()

    def _look_after(self) -> None:
        """Have the connections made anew if that is needed, and begin where the old ones have ended."""
        back = self.pool.look_after()
        again, self.pool.again = self.pool.again, []
        self._waiting[:0] = again
        if back:
            self._flushing = False
            self._waiting = self._changes.again() + [request for request in self._waiting if not request.kept]
        elif not self.pool.is_patient:
            self._fail_waiting(OSError(errno.ENODEV, f"the NBD server {self._shown} is away"))

    def _send(self) -> None:
        """Send what may be sent: nothing that conflicts with what is under way or came before and waits."""
        if self.pool.is_away or not self._waiting:
            return
        self._flush_when_much_is_kept()
        ready = [connection for connection in self.pool.connections if connection.is_ready]
        under_way = [request for connection in ready for request in connection.requests]
        changing = any(request.changes for request in under_way)
        left: list[Command] = []
        for place, request in enumerate(self._waiting):
            connection = min(ready, key=lambda one: len(one.requests), default=None)
            if connection is None or len(connection.requests) >= _DEPTH:
                left.extend(self._waiting[place:])
                break
            in_the_way = under_way if changing or request.changes else ()
            if self._must_wait(request, left) or any(map(request.conflicts, in_the_way)):
                left.append(request)
                continue
            self._send_on(connection, request)
            under_way.append(request)
            changing = changing or request.changes
        self._waiting = left

    def _send_on(self, connection: Connection, request: Command) -> None:
        if self._flush_failure and not request.kept and (request.changes or request.kind is Kind.FLUSH):
            request.failure, request.tries = self._flush_failure, _TRIES
            connection.finished.append(request)
            if request.kind is Kind.FLUSH:
                self._flush_failure = 0
            return
        if request.kind is Kind.FLUSH:
            request.mark = self._changes.mark
        self.pool.send(connection, request)

    def _must_wait(self, request: Command, before: list[Command]) -> bool:
        if request.kind is Kind.FLUSH:  # what is made again has been answered long ago: the flush is for it too
            under_way = (other for connection in self.pool.connections for other in connection.requests)
            return any(other.kept and other.changes for other in (*before, *under_way))
        if request.changes and not request.kept and self._changes.bytes > self._keep and self._flushing:
            return True
        return any(map(request.conflicts, before))

    def _flush_when_much_is_kept(self) -> None:
        """Have the server flush by ourselves before the changes that are kept take more memory than they may.

        Should that fail, then changes fail until the initiator flushes, and that flush does: what a system could not
        write it may take for written at the next flush, so the initiator has to be told once.
        """
        if self._changes.bytes <= self._keep or self._flushing or self._flush_failure:
            return
        self._flushing = True

        def flushed(error: OSError | None) -> None:
            self._flushing = False
            if error is not None and error.errno != errno.ENODEV:  # that one: the server is away, and all is kept
                self._flush_failure = error.errno or errno.EIO
                log.error("nbd: %s: a flush failed: %s", self._shown, error.strerror)

        flush = Command(Kind.FLUSH, 0, 0, flushed)
        flush.kept = True
        self._waiting.append(flush)

    def _answer(self) -> None:
        for connection in self.pool.connections:
            finished, connection.finished = connection.finished, []
            for request in finished:
                if request.failure and connection.is_lost and request.tries < _TRIES:
                    connection.finished.append(request)  # not the server's word: it goes again when all have ended
                elif request.failure == errno.ESHUTDOWN and request.tries < _TRIES:
                    connection.finished.append(request)
                    self.pool.go_away()
                else:
                    self._finish(request)

    def _finish(self, request: Command) -> None:
        if request.failure:
            request.done(OSError(request.failure, f"{os.strerror(request.failure)} (said by {self._shown})"))
            return
        if request.kind is Kind.FLUSH:
            self._changes.flushed(request.mark)
        elif request.changes and not request.kept and self.pool.export.can_flush:
            self._changes.add(request)
        request.done(None)

    def _fail_waiting(self, error: OSError) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            request.done(error)
