"""FORMAT UNIT (SBC-3 5.3): all blocks are zeros again, and a thin unit gives their space back."""

from __future__ import annotations

from functools import partial

from iscsitools.backstores.asynchronous import Operation, Request, flush_request
from iscsitools.scsi.core.cdb import u16, u32
from iscsitools.scsi.core.errors import invalid_field, invalid_parameter
from iscsitools.scsi.core.executor import Steps
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.sbc.pieces import in_pieces, light_piece

_LONG_LIST, _FORMAT_DATA, _LIST_FORMAT = 0x20, 0x10, 0x07
_FOV_AND_IMMED = 0x82


def check_format(task: Task) -> None:
    """FORMAT UNIT: with FMTDATA the header of a parameter list, short or long; its list of defects is empty."""
    flags = task.cdb[1]
    if not flags & _FORMAT_DATA and flags & (_LONG_LIST | _LIST_FORMAT):
        raise invalid_field(1, 5)
    task.lba, task.blocks = 0, task.unit.blocks
    if flags & _FORMAT_DATA:
        task.take(8 if flags & _LONG_LIST else 4)


def format_unit(task: Task) -> Steps:
    """FORMAT UNIT: it runs alone, and IMMED does not hasten its status."""
    unit = task.unit
    if task.cdb[1] & _FORMAT_DATA:
        _check_header(task)
    return _format(unit)


def _check_header(task: Task) -> None:
    """No protection information, no initialization pattern, no options but FOV and IMMED, and no defects."""
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


def _format(unit: LogicalUnit) -> Steps:
    zero = partial(Request, Operation.DISCARD if unit.thin else Operation.WRITE_ZEROES)
    yield from in_pieces(zero, 0, unit.blocks * unit.block_size, light_piece(unit.store))
    yield flush_request()
