"""The engine of one connection: bytes and the time go in, bytes and tasks come out (RFC 7143 chapters 4, 6, 11).

Life of a connection, all of it: *login* (every PDU goes to the requests' side, one at a time), *full feature* (the data
path first), *closing* (nothing more is read; the output is sent, then the connection is closed). ``close_reason`` tells
the last.

How its input is served, by the data path first, stands in :mod:`.turns`; what is left comes down to
:class:`~iscsitools.iscsi.requests.dispatch.Dispatcher` once, whole, one PDU at a time. What happens when no byte comes
stands in :mod:`.timers`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.connection import timers as timing
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.memory import Buffers, Holding
from iscsitools.iscsi.connection.output import Output
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.connection.turns import REQUEST_WORK, Turns
from iscsitools.iscsi.login.parameters import Parameters
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.wire.rfc7143 import RESERVED_TAG, Pdu

if TYPE_CHECKING:
    from iscsitools.iscsi.requests.discovery import TextResponder
    from iscsitools.iscsi.requests.dispatch import Dispatcher
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand
    from iscsitools.iscsi.requests.text import TextExchange
    from iscsitools.iscsi.session.session import Session

_MOST_LENT: Final = 8 << 20
"""Bytes that commands may wait for on a connection that a data thread takes: what has come of them is copied."""
_UNTIL_LOGIN: Final = Parameters()


class Connection(Turns):
    """One TCP connection of one initiator. Not thread-safe: everything happens on the event loop's thread."""

    def __init__(
        self, info: ConnectionInfo, buffers: Buffers, probes: Probes, requests: Dispatcher, now: int,
        timers: Timers, wake: Callable[[Connection], None], data_path: type[DataPath] = DataPath,
    ) -> None:  # fmt: skip
        """Begin in the login phase.

        ``requests``: who takes the PDUs off the data path. ``wake``: called when an answer is ready that no received
        byte caused, so that the loop sends it. ``data_path``: this class, or its twin.
        """
        self.address = info.remote.rpartition(":")[0].strip("[]")
        """The initiator's IP address, with its scope."""
        memory = Holding(buffers, self.address)
        path = data_path(buffers.receive, info, probes)
        path.lend_by(memory.reserve, memory.release, buffers.take, buffers.give)
        super().__init__(buffers, memory, path, Output(buffers, memory, path), probes, now)
        path.land_by(self.out.make_room, self._landed)
        self.info = info
        self.session: Session | None = None
        self.cid = 0
        self.refusal = ""
        """Why its first Login Request is answered with OUT_OF_RESOURCES, when there are too many connections."""
        self.commands: dict[int, ScsiCommand] = {}
        """Tasks off the data path, by ITT."""
        self.waiting = 0
        """How many of them have ended and wait for the rest of their data (RFC 7143 11.4.2)."""
        self.text: TextExchange | None = None
        self.responder: TextResponder | None = None
        self.parameters = _UNTIL_LOGIN
        """What this connection's login agreed to; what belongs to the session is in ``session.parameters``."""
        self.max_send = 8192
        self.opened = now
        self.wake = wake
        self.requests = requests
        self.timers = timers
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

    def take(self, pdu: Pdu) -> None:
        """Hand a whole PDU to the requests' side, with what is wrong with it."""
        self._budget -= REQUEST_WORK
        self.taken += 1
        self.requests.take(self, pdu)

    def place_for(self, header: Pdu, length: int) -> tuple[memoryview | None, ScsiCommand | None, int]:
        """Where a long data segment is received to; see ``Dispatcher.place_for``."""
        return self.requests.place_for(self, header, length)

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
        self.path.alone = False
        if self.call_back is not None:
            self.call_back()
        if self.path.segment_by:
            self._take_segment()

    @property
    def is_quiet(self) -> bool:
        """Whether only its data path has to do with it now: nothing is under way beside it, or waits to be sent.

        Commands of the data path that wait for the disk may be.
        """
        session, path = self.session, self.path
        return not (
            session is None
            or session.target is None
            or not self._full_feature
            or self.close_reason
            or self.commands
            or self.text is not None
            or self.segment_by
            or self.stalled
            or self.unfinished
            or session.held
            or path.awaited > _MOST_LENT
            or path.chunk is not None
            or self.out.unsent()
            or self.buffers.reserved > self.buffers.tight_from
        )

    @property
    def is_at_work(self) -> bool:
        """Whether its data path serves what was received: it waits for the disk, or for the connection's next turn."""
        return bool(self.path.flights) or self.unfinished

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
