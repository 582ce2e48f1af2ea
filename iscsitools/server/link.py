"""The adapter between a TCP socket and the engine of its connection. Nothing is decided here."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Final

from iscsitools.iscsi.connection.connection import Connection
from iscsitools.server.loop import READ, WRITE, Loop

log = logging.getLogger(__name__)

_RECEIVES: Final = 4
_LINGER_NS: Final = 5_000_000_000
"""How long a connection that is to be closed may take to accept its last output."""


class Link:
    """One accepted socket. ``gone`` is called once, when it has been closed.

    ``hand_over`` takes the socket of a connection that the engine has ended, with all of its output sent.
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, gone: Callable[[Link], None],
        hand_over: Callable[[socket.socket], None] = lambda sock: sock.close(),
    ) -> None:  # fmt: skip
        self._hand_over = hand_over
        self.sock = sock
        self.conn: Connection
        self._loop = loop
        self._gone = gone
        self._fd = sock.fileno()
        self._interest = READ
        self._open = True
        self._reads = True
        self._in_line = False
        """Its next turn has been asked for."""
        self._close_by = 0

    def start(self, conn: Connection) -> None:
        """Begin to serve ``conn`` with this socket."""
        self.conn = conn
        self._loop.watch(self._fd, READ, self.on_event)

    def on_event(self, what: int) -> None:
        """Take one readable event and answer it.

        Hot: once for a batch of PDUs. A handler that raises is a defect of ours; it ends this connection only.
        """
        try:
            if what & ~WRITE and not self.conn.stalled and not self.conn.unfinished:
                self._receive()
            if self._open:
                self.flush()
        except OSError as error:
            self.close(error.strerror or str(error))
        except (Exception, SystemExit):
            self._broken()

    def _receive(self) -> None:
        """Receive once, however much there is, so that the other connections get their turn.

        A long data segment that is received in place fills one buffer at a time; then a few times, so that the
        answers to several writes go out together.
        """
        conn = self.conn
        for _ in range(_RECEIVES):
            buffers = conn.get_buffers()
            try:
                count = self.sock.recv_into(buffers[0]) if len(buffers) == 1 else self.sock.recvmsg_into(buffers)[0]
            except BlockingIOError:
                return
            if not count:
                self.close("connection closed by the initiator")
                return
            conn.received(count, time.monotonic_ns())
            if not conn.in_place or conn.stalled or conn.unfinished or conn.close_reason:
                return

    def flush(self) -> None:
        """Send what there is to send, as far as the socket takes it."""
        conn = self.conn
        out = conn.out
        while self._open:
            while unsent := out.unsent():
                view = None if conn.stalled else out.only_piece()
                try:
                    count, offered = self._send(conn.output()) if view is None else (self.sock.send(view), unsent)
                except BlockingIOError:
                    conn.sent(0, time.monotonic_ns())
                    break
                if count == unsent and view is not None:
                    out.all_sent()
                    unsent = 0
                    break
                if view is not None:
                    conn.output()  # it goes in parts after all: into the queue
                conn.sent(count, time.monotonic_ns())
                if count < offered:
                    break
            unsent = out.unsent() if unsent else 0
            if conn.close_reason and not unsent:
                self._end(conn.close_reason, self._hand_over)
                return
            if conn.stalled and not unsent:
                conn.resume(time.monotonic_ns())  # within the turn's budget, so not for ever
                continue
            if conn.unfinished and not self._in_line:
                self._in_line = True
                self._loop.next_turn(self._go_on)
            reading = READ if self._reads and not (conn.stalled or conn.unfinished or conn.close_reason) else 0
            interest = reading | (WRITE if unsent or conn.stalled else 0)
            if interest != self._interest:
                self._interest = interest
                self._loop.change(self._fd, interest)
            return

    def _send(self, pieces: list[memoryview]) -> tuple[int, int]:
        """Send the pieces; returns how many bytes the socket took and how many it was offered."""
        if len(pieces) == 1:
            return self.sock.send(pieces[0]), len(pieces[0])
        return self.sock.sendmsg(pieces), sum(map(len, pieces))

    def _go_on(self) -> None:
        """The next turn has come: serve more of the input that the last one left."""
        self._in_line = False
        if self._open and self.conn.unfinished:
            self._guard(self._serve_more)

    def _serve_more(self) -> None:
        self.conn.go_on(time.monotonic_ns())
        self.flush()

    def flush_safely(self) -> None:
        """The same, from outside of an event of this link."""
        self._guard(self.flush)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.close(error.strerror or str(error))
        except (Exception, SystemExit):
            self._broken()

    def stop_reading(self) -> None:
        """Receive nothing more; answers still go out."""
        self._reads = False
        self.flush_safely()

    def on_time(self, now: int) -> None:
        """Let the engine look at the clock, if it wants to. A peer that takes no output cannot keep us from closing."""
        conn = self.conn
        if conn.close_reason:
            self._close_by = self._close_by or now + _LINGER_NS
            if now >= self._close_by:
                self.close(conn.close_reason)
        elif self._open and 0 < conn.deadline <= now:
            conn.on_time(now)
            self.flush_safely()

    def _broken(self) -> None:
        """A defect of ours, or a backstore that raises on the loop what it must not: it ends this connection only."""
        log.exception("internal error", extra={"remote": self.conn.info.remote})
        self.close("internal error")

    def close(self, reason: str) -> None:
        """Close the socket and tell the engine."""
        self._end(reason, lambda sock: sock.close())

    def _end(self, reason: str, dispose: Callable[[socket.socket], None]) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.unwatch(self._fd)
        self.conn.close(reason)
        dispose(self.sock)
        try:
            self.conn.closed()
        except Exception:
            log.exception("internal error", extra={"remote": self.conn.info.remote})
        finally:
            self._gone(self)
