"""A copy operation: pieces, one after the other, each first read and then written as tasks of the initiator's.

A piece waits for its turn at the source, is read there in that unit's threads (or turns), waits for its turn at the
destination, and is written there. So a backstore that hangs holds up its own unit only, and nothing is held while
something else is waited for. Rights are looked at before each of the two waits and again when the turn has come. Holes
are not read; what the destination's backstore can copy by its own means is not read either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Final

from iscsitools.backstores.base import Allocation, CloneSource
from iscsitools.backstores.caller import call_for
from iscsitools.scsi.copy.rights import READING, WRITING, Party
from iscsitools.scsi.copy.segment import Segment
from iscsitools.scsi.core.command import Command
from iscsitools.scsi.core.errors import ScsiError, check_condition
from iscsitools.scsi.core.executor import PIECE, Withdraw
from iscsitools.scsi.core.held_range import HeldRange
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc, SenseKey

_LONG_PIECE: Final = 8 << 20
_SEGMENT_FIELD: Final = 10


class CopyState(Enum):
    """How far an operation is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"


class CopyOperation:
    """One operation. It is an executor of a kind too: what is submitted to it is reported when it ends.

    ``reader``: in whose name the source is read, when that is another than who writes. ``foreign``: an error at a
    destination is told as one of the copy too (EXTENDED COPY), not as the command's own.
    """

    def __init__(
        self, party: Party, segments: Sequence[Segment], reader: Party | None = None, foreign: bool = True
    ) -> None:
        self.party = party
        self._reader = party if reader is None else reader
        self.segments = segments
        self.state = CopyState.RUNNING
        self.total = sum(segment.length for segment in segments)
        self.copied = 0
        """Bytes that have been written."""
        self.processed = 0
        """Segments that have been copied whole."""
        self.error: ScsiError | None = None
        self.ended: Callable[[CopyOperation], None] = _nothing
        """Called once, at the end."""
        self._foreign = foreign
        self._clones = all(segment.may_be_cloned for segment in segments)
        self._cloned = False
        self._pieces = self._cut()
        self._segment: Segment
        self._range: HeldRange | None = None
        self._at_work = False
        self._stopped = False
        self._withdraw: Withdraw = _too_late
        self._buffer = memoryview(b"")
        self._found: list[tuple[int, int, bool]] = []
        self._clone: CloneSource | None = None
        self._reports: list[Callable[[BaseException | None], None]] = []

    # The side of the command

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Begin, and call ``done`` at the end; taking it back ends the operation, at once or after its step."""
        self._reports.append(done)
        self.begin()
        return self._take_back

    def _take_back(self) -> bool:
        reports, self._reports = self._reports, []
        self.stop()
        if self.state is CopyState.RUNNING:  # a thread is at work: the end is reported when it has returned
            self._reports = reports
            return False
        return True

    def begin(self) -> None:
        """Begin; it may end before this returns."""
        self._next()

    def stop(self) -> None:
        """End it without a further step; what a thread is at is waited for."""
        if self.state is not CopyState.RUNNING or self._stopped:
            return
        self._stopped = True
        if not self._at_work or self._withdraw():
            self._at_work = False
            self._end(CopyState.ABORTED)

    # Its steps

    def _cut(self) -> Iterator[Segment]:
        """The pieces; from the end on where the destination begins within the source."""
        for segment in self.segments:
            shift = segment.offset - segment.source_offset
            if segment.source is segment.destination and 0 < shift < segment.length:
                for at in reversed(range(0, segment.length, PIECE)):
                    yield segment.piece(at, min(PIECE, segment.length - at))
            else:
                at = 0
                while at < segment.length:
                    length = min(_LONG_PIECE if self._cloned else PIECE, segment.length - at)
                    yield segment.piece(at, length)
                    at += length
            self.processed += 1

    def _next(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._end(CopyState.DONE)
            return
        self._segment = piece
        self._found = [(0, piece.length, piece.source is None)]
        if piece.source is None:
            self._write()
        else:
            self._hold(piece.source, READING, piece.source_offset, self._read)

    def _hold(self, unit: LogicalUnit, command: Command, offset: int, work: Callable[[], None]) -> None:
        """Wait for the turn at a range, then do the work there; rights are looked at before both."""
        lba, blocks = offset // unit.block_size, self._segment.length // unit.block_size
        try:
            nexus = self._asks(command).permitted(unit, command, lba, blocks)
        except ScsiError as error:
            self._fail(unit, error)
            return
        begun = partial(self._begun, unit, command, work)
        self._range = HeldRange(unit, nexus, command, lba, blocks, begun, self.stop)
        self._range.wait()

    def _asks(self, command: Command) -> Party:
        return self._reader if command is READING else self.party

    def _begun(self, unit: LogicalUnit, command: Command, work: Callable[[], None]) -> None:
        held = self._range
        assert held is not None
        try:
            self._asks(command).permitted(unit, command, held.lba, held.blocks)
        except ScsiError as error:
            self._fail(unit, error)
            return
        self._at_work = True
        done = partial(self._worked, unit)
        if unit.store.blocking:
            self._withdraw = unit.executor.submit(partial(call_for, held.nexus.initiator, work), done)
        else:
            self._withdraw = _too_late
            unit.executor.resume(partial(self._here, work, done))

    def _here(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        error: BaseException | None = None
        try:
            if not self._stopped:
                work()
        except BaseException as raised:
            error = raised
        done(error)

    def _worked(self, unit: LogicalUnit, error: BaseException | None) -> None:
        self._at_work = False
        self._withdraw = _too_late
        held, piece = self._range, self._segment
        assert held is not None
        if self._stopped:
            self._end(CopyState.ABORTED)
        elif isinstance(error, _NoCloneError):
            self._clones = False
            self._let_go()
            self._drop_clone()
            assert piece.source is not None
            self._hold(piece.source, READING, piece.source_offset, self._read)
        elif error is not None:
            self._fail(unit, error if isinstance(error, ScsiError) else unit.answer(held, error))
        elif held.command is READING:
            self._let_go()
            self._write()
        else:
            self._let_go()
            self._drop_clone()
            self.copied += piece.length
            self._next()

    def _write(self) -> None:
        piece = self._segment
        self._hold(piece.destination, WRITING, piece.offset, self._put)

    # In the units' threads

    def _read(self) -> None:
        """At the source: where there is something, and what it is if that has to be read."""
        piece = self._segment
        unit = piece.source
        assert unit is not None
        self._found = []
        if unit.block_size == piece.destination.block_size:
            for extent in unit.store.extents(piece.source_offset, piece.length):
                zeros = extent.state is not Allocation.MAPPED
                self._found.append((extent.offset - piece.source_offset, extent.length, zeros))
        else:
            self._found.append((0, piece.length, False))
        if self._clones:
            self._clone = unit.store.clone_source()
            self._clones = self._clone is not None
        if not self._clones:
            if len(self._buffer) < piece.length:
                self._buffer = memoryview(bytearray(piece.length))
            for at, length, zeros in self._found:
                if not zeros:
                    unit.store.read_into(piece.source_offset + at, self._buffer[at : at + length])

    def _put(self) -> None:
        """At the destination: holes and zeros stay such where it can be thin."""
        piece, unit = self._segment, self._segment.destination
        for at, length, zeros in self._found:
            offset = piece.offset + at
            if zeros:
                (unit.store.discard if unit.thin else unit.store.write_zeroes)(offset, length)
            elif self._clone is None:
                unit.store.write(offset, self._buffer[at : at + length])
            elif not unit.store.clone_from(self._clone, piece.source_offset + at, offset, length):
                raise _NoCloneError
            else:
                self._cloned = True
        if unit.must_write_through(fua=False):
            unit.store.flush()

    # The end

    def _let_go(self) -> None:
        held, self._range = self._range, None
        if held is not None:
            held.release()

    def _drop_clone(self) -> None:
        clone, self._clone = self._clone, None
        if clone is not None:
            clone.close()

    def _fail(self, unit: LogicalUnit, error: ScsiError) -> None:
        self.error = self._told(unit, error)
        self._end(CopyState.FAILED)

    def _told(self, unit: LogicalUnit, error: ScsiError) -> ScsiError:
        """What the command's initiator is told of an error at a unit (SPC-4 6.4.3, 4.5.2.3)."""
        if not self._foreign and unit is self._segment.destination:
            return error
        sense = bytearray(check_condition(SenseKey.COPY_ABORTED, _why(error)).sense)
        sense[_SEGMENT_FIELD : _SEGMENT_FIELD + 2] = self._segment.number.to_bytes(2, "big")
        return ScsiError(Status.CHECK_CONDITION, bytes(sense))

    def _end(self, state: CopyState) -> None:
        self.state = state
        if state is CopyState.ABORTED:
            self.error = check_condition(SenseKey.COPY_ABORTED, Asc.THIRD_PARTY_DEVICE_FAILURE)
        self._let_go()
        self._drop_clone()
        self._buffer = memoryview(b"")
        self.ended(self)
        reports, self._reports = self._reports, []
        for report in reports:
            report(self.error)


class _NoCloneError(Exception):
    """The destination's backstore cannot copy by its own means after all."""


def _why(error: ScsiError) -> Asc:
    if error.status == Status.CHECK_CONDITION:
        asc = int.from_bytes(error.sense[12:14], "big")
        if asc == Asc.COPY_TARGET_NOT_REACHABLE:
            return Asc.COPY_TARGET_NOT_REACHABLE
        if asc == Asc.LBA_OUT_OF_RANGE:
            return Asc.NO_ADDITIONAL_SENSE
    return Asc.THIRD_PARTY_DEVICE_FAILURE


def _nothing(operation: CopyOperation) -> None:
    """Nobody wants to know."""


def _too_late() -> bool:
    return False
