"""The engine of one connection: bytes and the time go in, bytes and tasks come out (RFC 7143 chapters 4, 6, 11).

Life of a connection, all of it: *login* (every PDU goes to the requests' side, one at a time), *full feature* (the data
path first), *closing* (nothing more is read; the output is sent, then the connection is closed). ``close_reason`` tells
the last.

Here is framing only. Received bytes are parsed in place. The data path (:mod:`.datapath`) answers what it can, all PDUs
of one readable event in one go; what it leaves goes down to :class:`~iscsitools.iscsi.requests.dispatch.Dispatcher`
once, whole, one PDU at a time. A long data segment is received where it belongs, and never copied.

A turn has a budget, so that nobody waits for another's flood: :data:`TURN_WORK`. What is left of the input then is
served in the next turn (:attr:`Connection.unfinished`, :meth:`Connection.go_on`), after others had theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE, Buffers, Holding, address_of
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT, Output
from iscsitools.iscsi.connection.stops import ANSWERED, CLOSED, MAPPED, OTHER, OUTPUT_FULL, Stop
from iscsitools.iscsi.login.negotiation import Parameters
from iscsitools.probes.firing import FIRED_NOTHING, ConnectionInfo, Probes
from iscsitools.wire.rfc7143 import (
    BHS_LENGTH,
    DIGEST_LENGTH,
    RESERVED_TAG,
    Fault,
    Pdu,
    padding,
)

if TYPE_CHECKING:
    from iscsitools.iscsi.requests.discovery import TextResponder
    from iscsitools.iscsi.requests.dispatch import Dispatcher
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand
    from iscsitools.iscsi.requests.text import TextExchange
    from iscsitools.iscsi.session.session import Session

SECOND: Final = 1_000_000_000
DIRECT_MINIMUM: Final = 8 << 10
"""A data segment of this size or more is received where it belongs, not into the receive buffer first."""
TURN_WORK: Final = 512 << 10
"""The budget of a turn: bytes of output, or what takes as long. Measured on one core of a shared x86-64 machine: 3 ms
for READs of one block, 0.5 ms for those of 4 KiB."""
REQUEST_WORK: Final = 32 << 10
"""What a PDU off the data path takes of it, beside what its command moves: 50 to 100 us on the same machine."""
SLOWEST_SEGMENT: Final = 8 << 10
"""Bytes a second that a long data segment has to come with, after :data:`_SEGMENT_GRACE`: what is held for it is held
from others."""
_SEGMENT_GRACE: Final = 30 * SECOND
_TIGHT_OUTPUT: Final = 64 << 10
"""Bytes of unsent output above which input waits while memory is tight."""
_COMMAND: Final = 0x01
_DATA_OUT: Final = 0x05
_segment: Final = struct.Struct(">4xI").unpack_from


@dataclass(frozen=True, slots=True)
class Timers:
    """Timers in nanoseconds; 0 switches one off.

    ``login``: from the connection to full feature phase. ``nop_interval``: of silence, after which the initiator is
    asked. ``nop_timeout``: for its answer. ``data_out``: for data that a command waits for.
    """

    login: int = 30 * SECOND
    nop_interval: int = 30 * SECOND
    nop_timeout: int = 30 * SECOND
    data_out: int = 30 * SECOND


@dataclass(slots=True)
class _Arriving:
    """A PDU whose data segment is being received into ``data``; ``trailer`` bytes of padding and digest follow.

    ``owner``: the command whose buffer that is part of. ``reserved``: bytes that are held for this PDU alone. ``by``:
    when it has to be there. ``skip``: bytes of it that go nowhere, for there was no memory to keep them in.
    """

    bhs: bytes
    ahs: bytes
    data: memoryview
    trailer: int
    owner: ScsiCommand | None
    reserved: int
    by: int
    skip: int = 0


class Connection:
    """One TCP connection of one initiator. Not thread-safe: everything happens on the event loop's thread."""

    def __init__(
        self, info: ConnectionInfo, buffers: Buffers, probes: Probes, requests: Dispatcher, now: int,
        timers: Timers, wake: Callable[[Connection], None], data_path: type[DataPath] = DataPath,
    ) -> None:  # fmt: skip
        """Begin in the login phase.

        ``requests``: who takes the PDUs off the data path. ``wake``: called when an answer is ready that no received
        byte caused, so that the loop sends it. ``data_path``: this class, or its twin.
        """
        self.info = info
        self.probes = probes
        self.buffers = buffers
        self.memory = Holding(buffers, info.remote.rpartition(":")[0])
        self.path = data_path(buffers.receive, info, probes)
        self.path.lend_by(self.memory.reserve, self.memory.release, buffers.take, buffers.give)
        self.out = Output(buffers, self.memory, self.path)
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
        self.max_receive = 8192
        self.max_send = 8192
        self.opened = now
        self.wake = wake
        self._requests = requests
        self.timers = timers
        self._full_feature = False
        self._budget = 0
        self._stash = b""
        self._whole = [buffers.receive_view]
        self._direct: memoryview | None = None
        self._arriving: _Arriving | None = None
        self._heard = now
        self._pinged = 0

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
        self._heard = now
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
        self._direct = None
        if self._arriving is not None:
            self.memory.release(self._arriving.reserved)
            self._arriving = None

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
        if stop is MAPPED:
            self.out.put_mapped()
            self.stalled = True
        elif stop is CLOSED:
            self.close("header digest error")
        elif stop is OUTPUT_FULL:
            self.stalled = True
        else:
            self.unfinished = True

    def _take_one(self, pos: int, end: int, now: int) -> int:
        """Take the PDU at ``pos``: returns where the next one begins, or -1 when this one is not all there.

        A PDU with a long data segment that is not all there becomes ``_arriving``: what is missing of its data is
        received straight into its place (``_direct``), and what is returned is where its padding and digest begin. So
        no PDU needs more of the receive buffer than its header.
        """
        path = self.path
        fired, path.fired = path.fired, FIRED_NOTHING
        view = self.buffers.receive_view
        bhs = bytes(view[pos : pos + BHS_LENGTH])
        ahs_length = bhs[4] * 4
        head = BHS_LENGTH + ahs_length + (DIGEST_LENGTH if path.header_digest else 0)
        length = int.from_bytes(bhs[5:8], "big")
        if length > self.max_receive:
            self._requests.take(self, Pdu(bhs, b"", memoryview(b""), now, fault=Fault.TOO_LONG))
            return end
        if end - pos < head:
            return -1
        if path.header_digest and not path.header_intact(pos, BHS_LENGTH + ahs_length):
            self.close("header digest error")
            return end
        ahs = bytes(view[pos + BHS_LENGTH : pos + BHS_LENGTH + ahs_length])
        data = pos + head
        trailer = padding(length) + (DIGEST_LENGTH if path.data_digest and length else 0)
        after = data + length + trailer
        if after <= end:
            self._deliver(Pdu(bhs, ahs, view[data : data + length], now, fired), view[data + length : after])
            return after
        if length < DIRECT_MINIMUM:
            return -1
        return self._begin_segment(Pdu(bhs, ahs, memoryview(b""), now), length, trailer, data, end)

    def _begin_segment(self, header: Pdu, length: int, trailer: int, data: int, end: int) -> int:
        """Receive a long data segment, which begins at ``data``, in its place; returns where the rest of input begins.

        Where there is no memory for it, it is read all the same and thrown away: others may wait for what is behind.
        """
        by = header.now + _SEGMENT_GRACE + length * SECOND // SLOWEST_SEGMENT
        place, owner, reserved = self._requests.place_for(self, header, length)
        if place is None:
            self._arriving = _Arriving(header.bhs, header.ahs, memoryview(b""), trailer, None, 0, by, skip=length)
            return self._arrived(end, header.now, data)
        have = min(end - data, length)
        place[:have] = self.buffers.receive_view[data : data + have]
        self._direct = place[have:] if have < length else None
        self._arriving = _Arriving(header.bhs, header.ahs, place, trailer, owner, reserved, by)
        return data + have

    def _arrived(self, end: int, now: int, pos: int = 0) -> int:
        """Finish a PDU whose data segment was received in place; returns where unused input begins."""
        arriving = self._arriving
        assert arriving is not None
        if arriving.skip:
            gone = min(arriving.skip, end - pos)
            arriving.skip -= gone
            pos += gone
        after = pos + arriving.trailer
        if arriving.skip or after > end:
            return pos
        self._arriving = None
        self.memory.release(arriving.reserved)
        if arriving.data:
            pdu = Pdu(arriving.bhs, arriving.ahs, arriving.data, now)
            trailer = self.buffers.receive_view[pos:after]
            if not self._answered_at_once(pdu, trailer):
                self._deliver(pdu, trailer)
        else:
            self._requests.take(self, Pdu(arriving.bhs, arriving.ahs, memoryview(b""), now, fault=Fault.NO_MEMORY))
        return after

    def _answered_at_once(self, pdu: Pdu, trailer: memoryview) -> bool:
        """Whether the data path has taken a PDU that was received in place, and looks after its buffer."""
        place = pdu.data.obj
        first = pdu.bhs[0]
        if first not in (_COMMAND, _DATA_OUT) or type(place) is not bytearray or not self._intact(pdu, trailer):
            return False
        self.out.open_chunk()
        address = address_of(pdu.data) if self.probes.mask else 0
        serve = self.path.write_in_place if first == _COMMAND else self.path.data_in_place
        done = serve(pdu.bhs, pdu.data, address)
        if not done:
            return False
        self.spend(BHS_LENGTH)
        if first == _COMMAND and done == ANSWERED:
            self.buffers.give(place)
        return True

    def _deliver(self, pdu: Pdu, trailer: memoryview) -> None:
        """Hand a whole PDU to the requests' side, with what is wrong with it."""
        if not self._intact(pdu, trailer):
            pdu = Pdu(pdu.bhs, pdu.ahs, memoryview(b""), pdu.now, pdu.fired, Fault.DATA_DIGEST)
        self.spend(REQUEST_WORK)
        self._requests.take(self, pdu)

    def _intact(self, pdu: Pdu, trailer: memoryview) -> bool:
        """Whether the data digest is right, where there is one."""
        if not self.path.data_digest or not len(pdu.data):
            return True
        return crc32c_wire(pdu.data, bytes(trailer[:-DIGEST_LENGTH])) == bytes(trailer[-DIGEST_LENGTH:])

    @property
    def heard(self) -> int:
        """When its initiator was last heard, in nanoseconds of the monotonic clock."""
        return self._heard

    @property
    def in_place(self) -> bool:
        """A long data segment is being received into its place."""
        return self._direct is not None

    def still_receives(self, command: ScsiCommand, length: int) -> bool:
        """Whether bytes are being received into a command's buffer, of which it holds ``length`` bytes.

        Then they are held for the PDU from now on: the buffer cannot be used before that is there.
        """
        arriving = self._arriving
        if arriving is None or arriving.owner is not command:
            return False
        arriving.owner = None
        arriving.reserved += length
        return True

    def now_owned_by(self, command: ScsiCommand) -> None:
        """A command has become a task: what is being received into its buffer just now is its own."""
        arriving = self._arriving
        if arriving is not None and arriving.data.obj is command.buffer:
            arriving.owner = command

    def start_full_feature(self, session: Session, header_digest: bool, data_digest: bool) -> None:
        """Leave the login phase with what was negotiated; digests hold from the next PDU on (RFC 7143 6.2)."""
        self.session = session
        self._full_feature = True
        if session.nexus is not None:
            session.nexus.gather = partial(self._requests.gather, self)
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
            self._heard = now

    # -- time, and the end

    @property
    def deadline(self) -> int:
        """When :meth:`on_time` wants to be called, in monotonic nanoseconds; 0: never."""
        times = [self._data_by(), self._peer_by()]
        return min((time for time in times if time), default=0)

    def _data_by(self) -> int:
        """By when the data that a command waits for has to be there; 0: none does."""
        if not self.timers.data_out:
            return 0
        times = [command.data_by for command in self.commands.values() if command.sequences]
        if self.path.transfers:
            times.append(self.path.waiting_since + self.timers.data_out)
        return min(times, default=0)

    def _peer_by(self) -> int:
        """By when the initiator has to do something, or is asked for a sign of life; 0: never."""
        timers = self.timers
        if self._arriving is not None:
            return self._arriving.by
        if self.session is None or not self.session.full_feature:
            return self.opened + timers.login if timers.login else 0
        if not timers.nop_interval:
            return 0
        if self._pinged > self._heard:
            return self._pinged + timers.nop_timeout if timers.nop_timeout else 0
        return self._heard + timers.nop_interval

    def on_time(self, now: int) -> None:
        """End commands whose data does not come; ask a silent initiator (RFC 7143 11.18, 11.19), or give it up."""
        if 0 < self._data_by() <= now:
            self._requests.give_up_waiting(self, now)
        if not 0 < self._peer_by() <= now:
            return
        if self._arriving is not None:
            self.close("a data segment that does not come")
        elif self.session is None or not self.session.full_feature:
            self.close("login took too long")
        elif self._pinged > self._heard:
            self.close("no answer to NOP-In")
        else:
            self._pinged = now
            self._requests.ping(self)

    def close(self, reason: str) -> None:
        """End this connection once its output is sent; the first reason given is kept."""
        self.close_reason = self.close_reason or reason
        self.stalled = self.unfinished = False

    def closed(self) -> None:
        """The transport is gone: end this connection's tasks and transfers. Called once, by the loop."""
        self.close("connection closed by the initiator")
        self._forget_input()
        self._requests.connection_lost(self)
        self.out.abandon()


assert RECEIVE_SIZE >= 2 * DIRECT_MINIMUM
