"""FORMAT UNIT (SBC-3 5.3, 4.26): all blocks are zeros again, and a thin unit gives their space back.

With IMMED it goes on behind the status, with progress in the sense data; a failure is told to every command that needs
the medium, until a format or a sanitize operation succeeds.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from iscsitools.backstores.asynchronous import Operation, Request, flush_request
from iscsitools.scsi.core.background import Background
from iscsitools.scsi.core.cdb import u16, u32
from iscsitools.scsi.core.command import Flags
from iscsitools.scsi.core.errors import ScsiError, check_condition, invalid_field, invalid_parameter
from iscsitools.scsi.core.executor import Steps
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.scsi.sbc.pieces import in_pieces, light_piece
from iscsitools.scsi.sbc.progress import in_progress, watched
from iscsitools.wire.sense import Asc, SenseKey

_LONG_LIST, _FORMAT_DATA, _LIST_FORMAT = 0x20, 0x10, 0x07
_FOV_AND_IMMED, _IMMED = 0x82, 0x02


class Formatting(Part):
    """A format operation that goes on behind its status. ``corrupted``: one has failed."""

    corrupted = False

    def begin(self, task: Task) -> None:
        """Begin as soon as the task has left. All is refused but what is answered in any state (SBC-3 5.3.1)."""
        unit = self.unit
        self.corrupted, unit.occupied = False, True
        self._tell(in_progress(Asc.FORMAT_IN_PROGRESS))
        steps = watched(unit, Asc.FORMAT_IN_PROGRESS, unit.blocks * unit.block_size, _format(unit))
        Background(unit, replace(task.command, flags=Flags.WRITES), steps, self._ended).begin()

    def _ended(self, error: BaseException | None) -> None:
        self.corrupted, self.unit.occupied = error is not None, False
        self._tell(check_condition(SenseKey.MEDIUM_ERROR, Asc.MEDIUM_FORMAT_CORRUPTED) if self.corrupted else None)

    def _tell(self, not_ready: ScsiError | None) -> None:
        self.unit.not_ready = not_ready
        self.unit.refresh()


def check_format(task: Task) -> None:
    """FORMAT UNIT: with FMTDATA the header of a parameter list, short or long; its list of defects is empty."""
    flags = task.cdb[1]
    if task.unit.not_ready is not None and not Formatting.of(task.unit).corrupted:
        raise task.unit.not_ready
    if not flags & _FORMAT_DATA and flags & (_LONG_LIST | _LIST_FORMAT):
        raise invalid_field(1, 5)
    task.lba, task.blocks = 0, task.unit.blocks
    if flags & _FORMAT_DATA:
        task.take(8 if flags & _LONG_LIST else 4)


def format_unit(task: Task) -> Steps | None:
    """FORMAT UNIT: it runs alone; after a failure always as if IMMED were set, so that its end is known."""
    immediate = bool(task.cdb[1] & _FORMAT_DATA) and _read_header(task)
    state = Formatting.of(task.unit)
    if immediate or state.corrupted:
        state.begin(task)
        return None
    return _format(task.unit)


def _read_header(task: Task) -> bool:
    """Whether IMMED is set. No protection information, initialization pattern or defects; no other option but FOV."""
    data, long = task.parameters(), bool(task.cdb[1] & _LONG_LIST)
    if data[0] & 7:
        raise invalid_parameter(0, 2)
    refused = data[1] & ~_FOV_AND_IMMED
    if refused:
        raise invalid_parameter(1, refused.bit_length() - 1)
    if long and data[3]:
        raise invalid_parameter(3, 7)
    if u32(data, 4) if long else u16(data, 2):
        raise invalid_parameter(4 if long else 2, 7)
    return bool(data[1] & _IMMED)


def _format(unit: LogicalUnit) -> Steps:
    zero = partial(Request, Operation.DISCARD if unit.thin else Operation.WRITE_ZEROES)
    yield from in_pieces(zero, 0, unit.blocks * unit.block_size, light_piece(unit.store))
    yield flush_request()
