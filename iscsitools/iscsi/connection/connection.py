"""The engine of one connection: bytes and the time go in, bytes and tasks come out (RFC 7143 chapters 4, 6, 11).

Life of a connection, all of it: *login* (every PDU goes to the requests' side, one at a time), *full feature* (the data
path first), *closing* (nothing more is read; the output is sent, then the connection is closed). ``close_reason`` tells
the last.

Here are its turns. The data path (:mod:`.datapath`) answers what it can, all PDUs of one readable event in one go; what
it leaves is found by :mod:`.framing` and goes down to :class:`~iscsitools.iscsi.requests.dispatch.Dispatcher` once,
whole, one PDU at a time. What happens when no byte comes stands in :mod:`.timers`.

A turn has a budget, so that nobody waits for another's flood: :data:`TURN_WORK`. What is left of the input then is
served in the next turn (:attr:`Connection.unfinished`, :meth:`Connection.go_on`), after others had theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from iscsitools.iscsi.connection import timers as timing
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.framing import Framing
from iscsitools.iscsi.connection.memory import Buffers, Holding
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT, Output
from iscsitools.iscsi.connection.stops import CLOSED, OTHER, OUTPUT_FULL, Stop, Turn
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.login.negotiation import Parameters
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.wire.rfc7143 import BHS_LENGTH, RESERVED_TAG, Pdu

if TYPE_CHECKING:
    from iscsitools.iscsi.requests.discovery import TextResponder
    from iscsitools.iscsi.requests.dispatch import Dispatcher
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand
    from iscsitools.iscsi.requests.text import TextExchange
    from iscsitools.iscsi.session.session import Session

TURN_WORK: Final = 512 << 10
"""The budget of a turn: bytes of output, or what takes as long. Measured on one core of a shared x86-64 machine: 3 ms
for READs of one block, 0.5 ms for those of 4 KiB."""
REQUEST_WORK: Final = 32 << 10
"""What a PDU off the data path takes of it, beside what its command moves: 50 to 100 us on the same machine."""
TurnEnd = Literal[0, 1, 2, 3]
"""How :meth:`Connection.turn` ends."""
NOT_NOW: Final = 0
"""It was none: receive as usual."""
ALL_DONE: Final = 1
"""There is nothing left to do, to send or to wait for but more input."""
MAY_SEND: Final = 2
"""There may be something to send."""
IS_OVER: Final = 3
"""The initiator has closed its end."""
_TIGHT_OUTPUT: Final = 64 << 10
"""Bytes of unsent output above which input waits while memory is tight."""
_MOST_LENT: Final = 8 << 20
"""Bytes that commands may wait for on a connection that a data thread takes: what has come of them is copied."""
_segment: Final = struct.Struct(">4xI").unpack_from


class Connection(Framing):
    """One TCP connection of one initiator. Not thread-safe: everything happens on the event loop's thread."""

    def __init__(
        self, info: ConnectionInfo, buffers: Buffers, probes: Probes, requests: Dispatcher, now: int,
        timers: Timers, wake: Callable[[Connection], None], data_path: type[DataPath] = DataPath,
    ) -> None:  # fmt: skip
        """Begin in the login phase.

        ``requests``: who takes the PDUs off the data path. ``wake``: called when an answer is ready that no received
        byte caused, so that the loop sends it. ``data_path``: this class, or its twin.
        """
        memory = Holding(buffers, info.remote.rpartition(":")[0])
        path = data_path(buffers.receive, info, probes)
        path.lend_by(memory.reserve, memory.release, buffers.take, buffers.give)
        super().__init__(buffers, memory, path, Output(buffers, memory, path), probes)
        path.land_by(self.out.make_room, self._landed)
        self.info = info
        self.session: Session | None = None
        self.cid = 0
        self.close_reason = ""
        self.refusal = ""
        """Why its first Login Request is answered with OUT_OF_RESOURCES, when there are too many connections."""
        self.stalled = False
        """Input waits until the output has been sent."""
        self.unfinished = False
        """Input waits for the next turn."""
        self.commands: dict[int, ScsiCommand] = {}
        """Tasks off the data path, by ITT."""
        self.waiting = 0
        """How many of them have ended and wait for the rest of their data (RFC 7143 11.4.2)."""
        self.text: TextExchange | None = None
        self.responder: TextResponder | None = None
        self.parameters = Parameters()
        """What this connection's login agreed to; what belongs to the session is in ``session.parameters``."""
        self.max_send = 8192
        self.opened = now
        self.wake = wake
        self.requests = requests
        self.timers = timers
        self._full_feature = False
        self._turns = path.turns
        self._budget = 0
        self._stash = b""
        self._whole = [buffers.receive_view]
        self.heard = now
        """When its initiator was last heard, in nanoseconds of the monotonic clock."""
        self.pinged = 0
        """When it was last asked for a sign of life."""
        self.taken = 0
        """PDUs that went to the requests' side."""
        self.call_back: Callable[[], None] | None = None
        """Has the data thread that serves this connection give it back; None: it is here."""

    def _landed(self, itt: int | None, _result: int) -> None:
        """Answers of commands that waited for the disk are in the output; or (``itt``) one has none."""
        if itt is not None:
            self.requests.landed(self, itt)
        self.wake(self)

    def next_ttt(self) -> int:
        """A Target Transfer Tag that is not in use: they go round all 32 bits but the reserved one."""
        path = self.path
        path.ttt = (path.ttt + 1) % RESERVED_TAG
        return path.ttt

    # -- bytes in

    def get_buffers(self) -> list[memoryview]:
        """Where the next bytes go, in this order; follow with :meth:`received`, even when none came."""
        view = self.buffers.receive_view
        if self._direct is None and not self._stash:
            return self._whole
        if self._direct is not None:
            # All of the buffer behind it, though the beginning of another long segment is copied once more then.
            # Measured for writes of 16 KiB to 256 KiB: with room for little behind it, each of them is received and
            # answered by itself, which costs twice as much for 16 to 64 KiB, and as much beyond.
            return [self._direct, view]
        stash = self._stash
        fill = len(stash)
        view[:fill] = stash
        return [view[fill:]]

    def received(self, count: int, now: int) -> None:
        """Take ``count`` bytes that were put into :meth:`get_buffers`: a turn. ``now``: monotonic nanoseconds."""
        if not count:
            return
        self.heard = now
        self._budget = TURN_WORK
        self.unfinished = False
        direct = self._direct
        if direct is not None:
            missing = len(direct)
            if count < missing:
                self._direct = direct[count:]
                return
            self._direct = None
            end = count - missing
        else:
            end = count
            if self._stash:
                end += len(self._stash)
                self._keep(b"")
        self._process(end, now)

    def turn(self, fd: int, now: int) -> TurnEnd:
        """Have the data path receive, serve and send by itself; the rest of the turn is done here, but for sending.

        Hot: once for an event, in place of :meth:`get_buffers`, :meth:`received` and :meth:`output`.
        """
        buffers, stash = self.buffers, self._stash
        if (
            not self._turns or not self._full_feature or self._arriving is not None or self.stalled or self.unfinished
            or self.close_reason or buffers.reserved > buffers.tight_from
        ):  # fmt: skip
            return NOT_NOW
        fill = len(stash)
        if fill:
            buffers.receive_view[:fill] = stash
        left = self.path.turn(fd, buffers.turn_chunk, fill, TURN_WORK, now)
        if left is False:
            return NOT_NOW
        if fill:
            self._keep(b"")
        return ALL_DONE if left is None else self._rest_of_turn(left, now)

    def _rest_of_turn(self, left: Turn, now: int) -> TurnEnd:
        """Go on where the data path has stopped."""
        pos, end, stop, self._budget, kept, over = left
        buffers = self.buffers
        self.heard = now
        chunk = buffers.turn_chunk
        if kept:
            buffers.turn_chunk = buffers.take_chunk()
        self.out.after_turn(chunk)
        if stop > OTHER:
            self._stopped(stop)
        elif end - pos >= BHS_LENGTH and (after := self._take_one(pos, end, now)) >= 0:
            pos = self._serve(after, end, now)
        self._keep_rest(pos, end)
        return IS_OVER if over else MAY_SEND

    def go_on(self, now: int) -> None:
        """Begin another turn with the input that the last one left (:attr:`unfinished`)."""
        self._budget = TURN_WORK
        self.resume(now)

    def resume(self, now: int) -> None:
        """Go on with the input that waited for output to be sent (:attr:`stalled`), within this turn's budget."""
        self.stalled = self.unfinished = False
        end = len(self._stash)
        self.buffers.receive_view[:end] = self._stash
        self._keep(b"")
        self._process(end, now)

    def _keep(self, stash: bytes) -> None:
        """Keep input for later, instead of what was kept."""
        self.memory.claim(len(stash) - len(self._stash))
        self._stash = stash

    def spend(self, work: int) -> None:
        """Take something off this turn's budget, in bytes or what takes as long."""
        self._budget -= work

    def _process(self, end: int, now: int) -> None:
        pos = 0
        self.path.now = now
        if self._arriving is not None:
            pos = self._arrived(end, now)
        pos = self._serve(pos, end, now)
        self._keep_rest(pos, end)

    def _keep_rest(self, pos: int, end: int) -> None:
        """The end of a turn: what was not served of the input is kept for the next one."""
        if self.close_reason:
            self._forget_input()
        elif self._direct is None and pos < end:
            self._keep(bytes(self.buffers.receive_view[pos:end]))
        if not self.out.unsent():
            self.out.settle()

    def _forget_input(self) -> None:
        """Nothing more is read."""
        if self._stash:
            self._keep(b"")
        self._forget_segment()

    def take(self, pdu: Pdu) -> None:
        """Hand a whole PDU to the requests' side, with what is wrong with it."""
        self._budget -= REQUEST_WORK
        self.taken += 1
        self.requests.take(self, pdu)

    def place_for(self, header: Pdu, length: int) -> tuple[memoryview | None, ScsiCommand | None, int]:
        """Where a long data segment is received to; see ``Dispatcher.place_for``."""
        return self.requests.place_for(self, header, length)

    def _serve(self, pos: int, end: int, now: int) -> int:
        """Serve the PDUs from ``pos`` on, while they are whole and the budget lasts; returns where the rest begins.

        Hot: once for an event. The data path is not asked while memory is tight, for it reserves none for what it
        reads; nor for the beginning of a long PDU, with which it could do nothing: measured, to enter its loop for
        nothing is a quarter of what a long write costs beside its copies.
        """
        path, out, buffers = self.path, self.out, self.buffers
        while end - pos >= BHS_LENGTH and not self.close_reason and self._arriving is None:
            if self._budget <= 0:
                self.unfinished = True
                break
            stop = OTHER
            if (
                self._full_feature
                and buffers.reserved <= buffers.tight_from
                and _segment(buffers.receive, pos)[0] & 0xFFFFFF < end - pos
            ):
                if path.chunk is None:
                    out.open_chunk()
                before = path.tail
                pos, stop = path.consume(pos, end, self._budget)
                self._budget -= path.tail - before
                if stop > OTHER:
                    self._stopped(stop)
                    break
                if end - pos < BHS_LENGTH:
                    break
            if out.unsent() > (_TIGHT_OUTPUT if buffers.reserved > buffers.tight_from else OUTPUT_LIMIT):
                self.stalled = True
                break
            before = path.chunk_begin + path.tail
            after = self._take_one(pos, end, now)
            if after < 0:
                break
            self._budget -= path.chunk_begin + path.tail - before
            pos = after
        return pos

    def _stopped(self, stop: Stop) -> None:
        """The data path goes on when something else has happened."""
        if stop is CLOSED:
            self.close("header digest error")
        elif stop is OUTPUT_FULL:
            self.stalled = True
        else:
            self.unfinished = True

    def start_full_feature(self, session: Session, header_digest: bool, data_digest: bool) -> None:
        """Leave the login phase with what was negotiated; digests hold from the next PDU on (RFC 7143 6.2)."""
        self.session = session
        self._full_feature = True
        if session.nexus is not None:
            session.nexus.gather = partial(self.requests.gather, self)
        self.memory.become(session.initiator)
        self.path.header_digest = header_digest
        self.path.data_digest = data_digest
        self.set_max_send(self.max_send)

    def set_max_send(self, length: int) -> None:
        """The initiator takes data segments of at most ``length`` bytes (RFC 7143 13.12)."""
        self.max_send = length
        session = self.session
        if session is not None and session.target is not None:
            agreed = session.parameters
            immediate = agreed.first_burst_length if agreed.immediate_data else 0
            self.path.agree(
                length, agreed.max_burst_length, immediate, agreed.first_burst_length, agreed.initial_r2t,
                agreed.max_outstanding_r2t,
            )  # fmt: skip

    # -- bytes out

    def output(self) -> list[memoryview]:
        """The bytes to send next, in order (at most 512 pieces); follow with :meth:`sent`."""
        return self.out.pieces()

    def sent(self, count: int, now: int) -> None:
        """``count`` bytes of :meth:`output`, perhaps none, were accepted by the socket. Follows each :meth:`output`."""
        self.out.sent(count)
        if self.out.unsent():
            self.out.wait()
        if count and (self.stalled or self.out.unsent()):
            # Its answer to a ping may lie behind what waits here; that it takes our output is its sign of life.
            self.heard = now

    # -- time, and the end

    @property
    def deadline(self) -> int:
        """When :meth:`on_time` wants to be called, in monotonic nanoseconds; 0: never."""
        return timing.deadline(self)

    def on_time(self, now: int) -> None:
        """End commands whose data does not come; ask a silent initiator (RFC 7143 11.18, 11.19), or give it up."""
        timing.on_time(self, now)

    # -- a data thread serves it

    def own(self) -> None:
        """See that it is served here: before anything is put into its output, and before its tasks are looked at.

        It waits for the end of what its data thread is at.
        """
        if self.call_back is not None:
            self.call_back()

    @property
    def is_quiet(self) -> bool:
        """Whether only its data path has to do with it now: nothing is under way beside it, or waits to be sent."""
        session, path = self.session, self.path
        return not (
            session is None
            or session.target is None
            or not self._full_feature
            or self.close_reason
            or self.commands
            or self.text is not None
            or self._arriving is not None
            or self.stalled
            or self.unfinished
            or session.held
            or path.awaited > _MOST_LENT
            or path.flights
            or path.chunk is not None
            or self.out.unsent()
            or self.buffers.reserved > self.buffers.tight_from
        )

    def leave_input(self) -> bytes:
        """The beginning of a PDU that has come, for a data thread that goes on with it.

        What its commands wait for is held by the thread from now on.
        """
        stash = self._stash
        self._keep(b"")
        self.memory.release(self.path.awaited)
        return stash

    def take_back(self, received: bytes, unsent: bytes, put: int) -> None:
        """Go on where a data thread has stopped; call :meth:`go_on` next.

        ``received``: what it has not served of the input. ``put``: bytes of answers that it has made, of which
        ``unsent`` wait to be sent.
        """
        self.call_back = None
        self.heard = max(self.heard, self.path.heard)
        self._keep(received)
        self.memory.claim(self.path.awaited)
        self.out.go_on(put, unsent)
        self.unfinished = True

    def close(self, reason: str) -> None:
        """End this connection once its output is sent; the first reason given is kept."""
        self.own()
        self.close_reason = self.close_reason or reason
        self.stalled = self.unfinished = False

    def closed(self) -> None:
        """The transport is gone: end this connection's tasks and transfers. Called once, by the loop."""
        self.close("connection closed by the initiator")
        self._forget_input()
        self.requests.connection_lost(self)
        self.out.abandon()
        self.path.land_by(_no_more, _no_more)  # else path and connection hold each other until Python looks for circles


def _no_more(*_: object) -> None:
    """What the data path of a connection that has ended calls: nobody."""
