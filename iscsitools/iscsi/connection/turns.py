"""The turns of one connection: what is served of its input, when, and what of it waits.

The data path (:mod:`.datapath`) answers what it can, all PDUs of one readable event in one go; what it leaves is found
by :mod:`.framing` and goes to the requests' side, one PDU at a time. A turn has a budget, so that nobody waits for
another's flood: :data:`TURN_WORK`. What is left of the input then is served in the next turn
(:attr:`Turns.unfinished`, :meth:`Turns.go_on`), after others had theirs.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.framing import Framing
from iscsitools.iscsi.connection.memory import Buffers, Holding
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT, Output
from iscsitools.iscsi.connection.stops import CLOSED, OTHER, OUTPUT_FULL, Stop, Turn
from iscsitools.probes.firing import Probes
from iscsitools.wire.rfc7143 import BHS_LENGTH

TURN_WORK: Final = 512 << 10
"""The budget of a turn: bytes of output, or what takes as long. Measured on one core of a shared x86-64 machine: 3 ms
for READs of one block, 0.5 ms for those of 4 KiB."""
REQUEST_WORK: Final = 32 << 10
"""What a PDU off the data path takes of it, beside what its command moves: 50 to 100 us on the same machine."""
TurnEnd = Literal[0, 1, 2, 3]
"""How :meth:`Turns.turn` ends."""
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
_segment: Final = struct.Struct(">4xI").unpack_from


class Turns(Framing):
    """The part of :class:`~iscsitools.iscsi.connection.connection.Connection` that is served bytes, turn by turn."""

    def __init__(
        self, buffers: Buffers, memory: Holding, path: DataPath, out: Output, probes: Probes, now: int
    ) -> None:
        super().__init__(buffers, memory, path, out, probes)
        self.close_reason = ""
        """Why nothing more is read; empty: it is."""
        self.stalled = False
        """Input waits until the output has been sent."""
        self.unfinished = False
        """Input waits for the next turn."""
        self.heard = now
        """When its initiator was last heard, in nanoseconds of the monotonic clock."""
        self._full_feature = False
        self._turns = path.turns
        self._budget = 0
        self._stash = b""
        self._whole = [buffers.receive_view]

    def get_buffers(self) -> list[memoryview]:
        """Where the next bytes go, in this order; follow with :meth:`received`, even when none came."""
        view = self.buffers.receive_view
        if self.path.segment_by:
            self._take_segment()
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
        return ALL_DONE if left is None else self.rest_of_turn(left, now)

    def rest_of_turn(self, left: Turn, now: int) -> TurnEnd:
        """Go on where the data path has stopped."""
        pos, end, stop, self._budget, kept, over = left
        buffers = self.buffers
        self.heard = now
        chunk = buffers.turn_chunk
        if kept:
            buffers.turn_chunk = buffers.take_chunk()
        self.out.after_turn(chunk)
        if stop is OTHER and self.path.segment_by:
            self._take_segment()  # all of it is there
            pos = self._serve(self._arrived(end, now, pos), end, now)
        elif stop > OTHER:
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
