"""The adapter between a TCP socket and the engine of its connection. Nothing is decided here.

What is served at once is a connection in full feature phase: the turn of one costs what its budget says. A login's
steps, and the end of any connection, wait for a turn of the loop, of which a few are run between two looks at the
sockets (:meth:`Loop.next_turn`). So a flood of logins, or a thousand connections that end at once, go ahead of nobody's
command but by those few.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.stops import Turn
from iscsitools.iscsi.connection.turns import ALL_DONE, IS_OVER, TURN_WORK, TurnEnd
from iscsitools.server.loop import Loop
from iscsitools.server.poller import READ, WRITE

if TYPE_CHECKING:
    from iscsitools.server.data_threads import DataThreads

log = logging.getLogger(__name__)

_RECEIVES: Final = 4
_LANDING: Final = 0.01
"""Seconds that commands which wait for the disk have to land in, when a data thread is to get their connection."""
_LINGER_NS: Final = 5_000_000_000
"""How long a connection that is to be closed may take to accept its last output."""


class TcpConnection:
    """One accepted socket. ``gone`` is called once, when it has been closed.

    ``hand_over`` takes the socket of a connection that the engine has ended, with all of its output sent; the loop goes
    on watching it for input. ``threads`` may serve the connection while only its data path has to do with it.
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, gone: Callable[[TcpConnection], None],
        hand_over: Callable[[socket.socket], None] | None = None, threads: DataThreads | None = None,
    ) -> None:  # fmt: skip
        self._hand_over = hand_over
        self.sock = sock
        self.conn: Connection
        self._loop = loop
        self._gone = gone
        self._fd = sock.fileno()
        self._interest = READ
        self._watched = False
        self._open = True
        self._reads = True
        self._in_line = False
        """Its next turn has been asked for."""
        self._close_by = 0
        self._ending = False
        """The rest of its end waits for its turn."""
        self._own_socket = True
        """Its socket is to be closed here."""
        self._hands_on = False
        """Its data path takes events by itself."""
        self._threads = threads
        self._served_at = self._taken_at = 0
        """Commands and PDUs that were taken by the end of the last turn."""
        self._leaves = False
        """A data thread gets it when its commands that wait for the disk have landed; until then nothing is read."""

    def start(self, conn: Connection) -> None:
        """Begin to serve ``conn`` with this socket: in its turn, when mostly the first request is there already."""
        self.conn = conn
        self._in_line = True
        self._loop.next_turn(self._begin)

    def _begin(self) -> None:
        if self._open:
            self._watched = True
            self._loop.watch(self._fd, self._interest, self._on_login_event)
        self._log_in()

    def _on_login_event(self, what: int) -> None:
        """Wait for a turn with what came in the login phase."""
        if not what & ~WRITE:
            self.on_event(what)
        elif not self._in_line:
            self._in_line = True
            self._loop.next_turn(self._log_in)
        elif self._interest & READ:
            self._interest &= ~READ  # so many are waiting that it was reported again: once is enough
            self._loop.change(self._fd, self._interest)

    def _log_in(self) -> None:
        """A turn of the login phase."""
        self._in_line = False
        if self._open:
            self.on_event(READ)
            if self._open and self.conn.session is not None:
                self._loop.hand_on(self._fd, self.on_event)

    def on_event(self, what: int) -> None:
        """Take one readable event and answer it.

        Hot: once for a batch of PDUs. A handler that raises is a defect of ours; it ends this connection only.
        """
        try:
            if what == self._interest == READ and (end := self.conn.turn(self._fd, time.monotonic_ns())):
                self._after_turn(end)
                return
            if not self._reads:
                if what & ~(READ | WRITE):  # not asked for: a reset, or both directions closed
                    self.close("connection lost")
                    return
            elif what & ~WRITE and not self.conn.stalled and not self.conn.unfinished:
                self._receive()
            if self._open:
                self.flush()
        except OSError as error:
            self._end_in_turn(error.strerror or str(error))
        except (Exception, SystemExit):
            self._broken()

    def _after_turn(self, end: TurnEnd) -> None:
        """The data path has received and sent by itself."""
        if end == ALL_DONE:
            if self._threads is None:
                if not self._hands_on:
                    self._hand_on()
            elif not self._offer() and self._leaves:
                self._interest = 0
                self._loop.change(self._fd, 0)
        elif end == IS_OVER:
            self._end_in_turn("connection closed by the initiator")
        elif self._open:
            self.flush()

    def _hand_on(self) -> None:
        """Have its data path take the events to come that concern nobody else: most of them."""
        self._hands_on = True
        conn = self.conn
        take = conn.path.events(self._fd, conn.buffers, TURN_WORK, self.on_event, self._on_left)
        if take is not None:
            self._loop.hand_on(self._fd, take)

    def _on_left(self, left: Turn | BaseException, now: int) -> None:
        """The data path has taken an event, and has left this."""
        self._guard(partial(self._take_left, left, now))

    def _take_left(self, left: Turn | BaseException, now: int) -> None:
        if isinstance(left, BaseException):
            raise left
        self._after_turn(self.conn.rest_of_turn(left, now))

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
                self._end_in_turn("connection closed by the initiator")
                return
            conn.received(count, time.monotonic_ns())
            if not conn.in_place or conn.stalled or conn.unfinished or conn.close_reason:
                return

    def flush(self) -> None:
        """Send what there is to send, as far as the socket takes it."""
        conn = self.conn
        out = conn.out
        while self._open and conn.call_back is None:
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
                self._end_in_turn(conn.close_reason, all_sent=True)
                return
            if conn.stalled and not unsent:
                conn.resume(time.monotonic_ns())  # within the turn's budget, so not for ever
                continue
            if conn.unfinished and not self._in_line:
                self._in_line = True
                self._loop.next_turn(self._go_on)
            if self._threads is not None and self._offer():
                return
            stays = self._reads and not self._leaves
            reading = READ if stays and not (conn.stalled or conn.unfinished or conn.close_reason) else 0
            interest = reading | (WRITE if unsent or conn.stalled else 0)
            if interest != self._interest:
                self._interest = interest
                if self._watched:
                    self._loop.change(self._fd, interest)
            return

    # -- a data thread serves it

    def _offer(self) -> bool:
        """Let a data thread serve it, if in its last turn only its data path had to do with it; whether it does now."""
        conn, threads = self.conn, self._threads
        served, taken = conn.path.commands, conn.taken
        leaves, self._leaves = self._leaves, False
        undisturbed = (served != self._served_at or leaves) and taken == self._taken_at
        self._served_at, self._taken_at = served, taken
        if not (undisturbed and self._reads and conn.is_quiet and threads is not None and threads.takes(self)):
            return False
        if conn.path.flights:
            if not leaves:
                self._loop.call_later(_LANDING, self._stay)
            self._leaves = True
            return False
        self._loop.unwatch(self._fd)
        threads.lend(self, self._fd)
        return True

    def _stay(self) -> None:
        """If it still waits for its commands to land, then something of them takes long: go on here."""
        if self._open and self._leaves and self._threads is not None:
            self._leaves = False
            self._threads.put_off(self)
            self.flush_safely()

    def come_back(self, received: bytes, unsent: bytes, put: int) -> None:
        """Serve it here again: a data thread has stopped, or was asked to. Its next turn is here."""
        self.conn.take_back(received, unsent, put)
        self._served_at, self._taken_at = self.conn.path.commands, self.conn.taken
        self._interest = READ
        self._loop.watch(self._fd, READ, self.on_event)
        self._in_line = True
        self._loop.next_turn(self._go_on)

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
        """The same, from outside of an event of this one."""
        self._guard(self.flush)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self._end_in_turn(error.strerror or str(error))
        except (Exception, SystemExit):
            self._broken()

    def stop_reading(self) -> None:
        """Receive nothing more; answers still go out."""
        self.conn.own()
        self._reads = False
        self.flush_safely()

    def read_again(self) -> None:
        """Receive again after :meth:`stop_reading`."""
        self._reads = True
        self.flush_safely()

    def on_time(self, now: int) -> None:
        """Let the engine look at the clock, if it wants to. A peer that takes no output cannot keep us from closing."""
        conn = self.conn
        if conn.close_reason:
            self._close_by = self._close_by or now + _LINGER_NS
            if now >= self._close_by:
                self._end_in_turn(conn.close_reason)
        elif self._open and 0 < conn.deadline <= now:
            conn.on_time(now)
            self.flush_safely()

    def _broken(self) -> None:
        """A defect of ours, or a backstore that raises on the loop what it must not: it ends this connection only."""
        log.exception("internal error", extra={"remote": self.conn.info.remote})
        try:
            self._end_in_turn("internal error")
        except Exception:  # not even that: its events would be reported for ever
            log.exception("internal error", extra={"remote": self.conn.info.remote})
            self._open, self._ending, self._own_socket = False, True, True
            self._loop.unwatch(self._fd)
            self._loop.next_turn(self._finish)

    def close(self, reason: str) -> None:
        """Close the socket and tell the engine, now."""
        self._begin_end(reason)
        self._finish()

    def _end_in_turn(self, reason: str, all_sent: bool = False) -> None:
        """The same when its turn comes: a session's end takes as long as a few commands, and many may come at once.

        ``all_sent``: its initiator is left the time to read what was sent last.
        """
        if self._open:
            self._begin_end(reason, self._hand_over if all_sent else None)
            self._loop.next_turn(self._finish)

    def _begin_end(self, reason: str, hand_over: Callable[[socket.socket], None] | None = None) -> None:
        """Take no more input and output; who takes the socket over goes on watching it."""
        self.conn.own()
        if not self._open:
            return
        self._open = False
        self._ending = True
        self.conn.close(reason)
        if hand_over is None or not self._watched:
            self._loop.unwatch(self._fd)
            return
        if self._interest != READ:
            self._loop.change(self._fd, READ)
        self._own_socket = False
        hand_over(self.sock)

    def _finish(self) -> None:
        if not self._ending:
            return
        self._ending = False
        if self._own_socket:
            self.sock.close()
        try:
            self.conn.closed()
        except Exception:
            log.exception("internal error", extra={"remote": self.conn.info.remote})
        finally:
            self._gone(self)
