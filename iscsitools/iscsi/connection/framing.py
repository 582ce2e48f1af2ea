"""Framing: PDUs are found in the input of one connection, in place (RFC 7143 11.2, 13.1).

A PDU of a few KiB is taken when all of it is in the receive buffer. One with a long data segment is taken apart: its
header first, then the segment, which the socket is read into where it belongs (a command's buffer, or one that is held
for it), then its padding and digest. So it is never copied, and no PDU needs more of the receive buffer than a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE, Buffers, Holding, address_of
from iscsitools.iscsi.connection.output import Output
from iscsitools.iscsi.connection.stops import ANSWERED
from iscsitools.iscsi.connection.timers import SECOND
from iscsitools.probes.firing import FIRED_NOTHING, Probes
from iscsitools.wire.rfc7143 import BHS_LENGTH, DIGEST_LENGTH, Fault, Pdu, padding

if TYPE_CHECKING:
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand

DIRECT_MINIMUM: Final = 8 << 10
"""A data segment of this size or more is received where it belongs, not into the receive buffer first."""
SLOWEST_SEGMENT: Final = 8 << 10
"""Bytes a second that a long data segment has to come with, after :data:`_SEGMENT_GRACE`: what is held for it is held
from others."""
_SEGMENT_GRACE: Final = 30 * SECOND
_COMMAND: Final = 0x01
_DATA_OUT: Final = 0x05


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


class Framing:
    """The part of :class:`~iscsitools.iscsi.connection.connection.Connection` that knows where a PDU begins and ends.

    A class below and not an object beside it: it works on the connection's input and data path, and gives them no
    other owner.
    """

    def __init__(self, buffers: Buffers, memory: Holding, path: DataPath, out: Output, probes: Probes) -> None:
        self.buffers = buffers
        self.memory = memory
        self.path = path
        self.out = out
        self.probes = probes
        self.max_receive = 8192
        """The MaxRecvDataSegmentLength that we declared (RFC 7143 13.12)."""
        self._direct: memoryview | None = None
        self._arriving: _Arriving | None = None

    # -- what it asks of the connection

    def take(self, pdu: Pdu) -> None:
        """Take a whole PDU that the data path leaves."""
        raise NotImplementedError  # abstract

    def place_for(self, header: Pdu, length: int) -> tuple[memoryview | None, ScsiCommand | None, int]:
        """Where a long data segment is received to; see ``Dispatcher.place_for``."""
        raise NotImplementedError  # abstract

    def spend(self, work: int) -> None:
        """Take something off this turn's budget, in bytes or what takes as long."""
        raise NotImplementedError  # abstract

    def close(self, reason: str) -> None:
        """End this connection once its output is sent; the first reason given is kept."""
        raise NotImplementedError  # abstract

    # -- PDUs

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
            self.take(Pdu(bhs, b"", memoryview(b""), now, fault=Fault.TOO_LONG))
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
        place, owner, reserved = self.place_for(header, length)
        if place is None:
            self._arriving = _Arriving(header.bhs, header.ahs, memoryview(b""), trailer, None, 0, by, skip=length)
            return self._arrived(end, header.now, data)
        have = min(end - data, length)
        place[:have] = self.buffers.receive_view[data : data + have]
        self._direct = place[have:] if have < length else None
        self._arriving = _Arriving(header.bhs, header.ahs, place, trailer, owner, reserved, by)
        return data + have

    def _take_segment(self) -> None:
        """Receive here the rest of a segment that turns of the data path have begun to receive in its place."""
        found = self.path.take_segment()
        if found is not None:
            bhs, place, have, reserved, by = found
            self._direct = place[have:] if have < len(place) else None
            self._arriving = _Arriving(bhs, b"", place, 0, None, reserved, by)

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
            self.take(Pdu(arriving.bhs, arriving.ahs, memoryview(b""), now, fault=Fault.NO_MEMORY))
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
        self.take(pdu)

    def _intact(self, pdu: Pdu, trailer: memoryview) -> bool:
        """Whether the data digest is right, where there is one."""
        if not self.path.data_digest or not len(pdu.data):
            return True
        return crc32c_wire(pdu.data, bytes(trailer[:-DIGEST_LENGTH])) == bytes(trailer[-DIGEST_LENGTH:])

    # -- a long data segment on its way

    @property
    def segment_by(self) -> int:
        """By when the long data segment on its way has to be there, in monotonic nanoseconds; 0: none is."""
        return self.path.segment_by if self._arriving is None else self._arriving.by

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

    def _forget_segment(self) -> None:
        """Nothing more is read."""
        self._take_segment()
        self._direct = None
        if self._arriving is not None:
            self.memory.release(self._arriving.reserved)
            self._arriving = None


assert RECEIVE_SIZE >= 2 * DIRECT_MINIMUM
