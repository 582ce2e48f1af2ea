"""One reader's connection: requests in, answers out, and what it may take of the server's memory."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from iscsitools.trace.feed.budget import UNIT, ReaderBudget, SharedBudget
from iscsitools.trace.feed.event_loop import EventLoop
from iscsitools.trace.protocol import MAX_CONTROL_REQUEST, MAX_REQUEST, Message, ReaderLimits, decode, encode

log = logging.getLogger(__name__)

_RECEIVE: Final = 4096
_RECEIVE_CONTROL: Final = 65536
PARTS_OF_A_TURN: Final = 16
"""Parts of a long answer that are made before all others have their turn: some 0.5 ms."""


class Peer:
    """A connected reader. ``handle`` is called with each request, ``gone`` once when the conversation has ended.

    Requests that cost more than is allowed, to this one or to all together, wait in the socket until the second is
    over. A long answer is made in turns with everything else (:meth:`send_in_turns`). Answers that the socket does not
    take wait here, up to a bound; while some are made or wait, no request is read; a reader that takes none of them for
    the allowed time is let go. One that will ask no more, and has shut down its side, gets its answers first.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: EventLoop,
        limits: ReaderLimits,
        *,
        control: bool,
        handle: Callable[[Peer, Message], None],
        gone: Callable[[Peer], None],
        shared: SharedBudget,
    ) -> None:
        self._budget = ReaderBudget(shared, limits.units_per_second, loop, self.go_on)
        self._making = False
        """A long answer is being made."""
        self._held = False
        """An answer comes later; whatever is sent meanwhile waits here, and a hang-up is noticed."""
        self.control = control
        self.closed = False
        self._socket = sock
        self._fd = sock.fileno()
        self._loop = loop
        self._limits = limits
        self._handle = handle
        self._gone = gone
        self._input = bytearray()
        self._output = bytearray()
        self._taken = 0
        """Bytes of the output that the socket took, ever: by it a stall is seen."""
        self._reading = True
        self._asked_all = False
        """It has shut down its side: what it asked for is answered, and then it is let go."""
        self._then: Callable[[], None] | None = None
        sock.setblocking(False)
        loop.add_reader(self._fd, self._readable)

    @property
    def idle(self) -> bool:
        """Whether no answer waits."""
        return not self._output

    def send(self, data: bytes) -> None:
        """Send bytes, later if the socket is full; above the bound the reader is let go."""
        if self.closed:
            return
        was_idle = not self._output
        sent = self._try(data) if was_idle else 0
        if sent == len(data) or self.closed:
            return
        if len(self._output) + len(data) - sent > self._limits.backlog_bytes:
            self.close_soon()
            return
        self._output += data[sent:]
        if was_idle:
            self._loop.add_writer(self._fd, self._writable)
            self._watch_for_stall()
        self._listen()

    def send_message(self, message: Message) -> bool:
        """Send a message as :meth:`send` does; False when the reader is gone."""
        data = encode(message)
        self._budget.spend(len(data) // UNIT)
        self.send(data)
        return not self.closed

    def send_in_turns(self, parts: Iterator[bytes]) -> None:
        """Make a long answer of its parts, some at a time with everybody else's turn between, and send it whole."""
        self._making = True
        data = bytearray()

        def make_some() -> None:
            if self.closed:
                return
            before = len(data)
            made = 0
            try:
                for part in islice(parts, PARTS_OF_A_TURN):
                    data.extend(part)
                    made += 1
            except Exception as error:  # a fault of ours must not end the target
                self._making = False
                self._failed(error)
                return
            whole = made < PARTS_OF_A_TURN
            self._budget.spend((len(data) - before) // UNIT)
            if len(data) > self._limits.backlog_bytes:
                self.close()
            elif whole:
                self._making = False
                self.send(bytes(data))
                self._work()
            else:
                self._loop.call_later(0, make_some)

        make_some()

    def hold(self) -> None:
        """The answer to this request comes by :meth:`finish`; no other request is handled before."""
        self._held = True

    def finish(self, message: Message) -> None:
        """Give the answer that was waited for."""
        self._held = False
        if self.send_message(message):
            self._work()

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call ``then`` once no answer waits, now if none does; never when the reader is let go before."""
        if self._output:
            self._then = then
        else:
            then()

    def send_now(self, message: Message) -> bool:
        """Send a message at once, in front of the records that need it. A reader whose socket is full is let go."""
        data = encode(message)
        if self.closed or self._output or self._try(data) != len(data):
            self.close_soon()
            return False
        return True

    def send_fds(self, message: Message, fds: list[int]) -> bool:
        """Send a message with descriptors, at once; False lets the reader go."""
        data = encode(message)
        try:
            taken = not self._output and socket.send_fds(self._socket, [data], fds) == len(data)
        except OSError:
            taken = False
        if not taken:
            self.close_soon()
        return taken

    def close_soon(self) -> None:
        """Let the reader go after the callbacks that run now: this may be in the middle of an event."""
        self._loop.call_later(0, self.close)

    def close(self) -> None:
        """Let the reader go now."""
        if self.closed:
            return
        self.closed = True
        self._budget.close()
        self._reading = False
        self._then = None
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._socket.close()
        self._output.clear()
        self._input.clear()
        self._gone(self)

    def _try(self, data: bytes | bytearray) -> int:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.close_soon()
            return 0
        self._taken += sent
        return sent

    def _writable(self) -> None:
        # A bounded piece, so that a long answer is not copied again for each part of it that the socket takes.
        del self._output[: self._try(self._output[: 1 << 18])]
        if self._output:
            return
        self._loop.remove_writer(self._fd)
        then, self._then = self._then, None
        if then is not None and not self.closed:
            then()
        self._work()

    def _watch_for_stall(self) -> None:
        taken = self._taken

        def look() -> None:
            if self.closed or not self._output:
                return
            if self._taken == taken:
                self.close()
            else:
                self._watch_for_stall()

        self._loop.call_later(self._limits.stall_seconds, look)

    def _listen(self) -> None:
        """Read requests only while none of the earlier answers wait and the rate allows it."""
        able = self._held or (not self._output and not self._making and self._budget.affords())
        wanted = able and not self.closed and not self._asked_all
        if wanted and not self._reading:
            self._loop.add_reader(self._fd, self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._fd)
        self._reading = wanted

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_CONTROL if self.control else _RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._no_more()
            return
        self._input += data
        if self._held and len(self._input) > MAX_CONTROL_REQUEST:
            self.close()
            return
        self._work()

    def _no_more(self) -> None:
        """The stream has ended: the reader has hung up, or has only shut down its side."""
        poll = select.poll()
        poll.register(self._fd, 0)
        if poll.poll(0):  # POLLHUP, which nobody has to ask for: neither side is open any more
            self.close()
            return
        self._asked_all = True
        self._work()

    def _work(self) -> None:
        """Handle the whole requests that are here, as many as rate and output allow."""
        longest = MAX_CONTROL_REQUEST if self.control else MAX_REQUEST
        while not self.closed and not self._output and not self._making and not self._held and self._budget.affords():
            end = self._input.find(b"\n")
            if end < 0:
                if len(self._input) > longest:
                    self._refuse("the request is too long")
                elif self._asked_all and self._input:
                    self._refuse("bad request: its line has no end")
                elif self._asked_all:
                    self.close_soon()
                break
            line = bytes(self._input[:end])
            del self._input[: end + 1]
            self._budget.spend(1)
            try:
                self._handle(self, decode(line))
            except ValueError as error:
                self._refuse(f"bad request: {error}")
            except Exception as error:  # a fault of ours must not end the target
                self._failed(error)
        self._listen()

    def _failed(self, error: Exception) -> None:
        log.error("a trace request failed", exc_info=error)
        self._refuse(f"the server failed: {type(error).__name__}")

    def _refuse(self, reason: str) -> None:
        self.send_message({"error": reason})
        self._input.clear()
        self.close_soon()

    def go_on(self) -> None:
        """There is something left again of what it, or what all readers, may cost."""
        if not self.closed:
            self._work()
