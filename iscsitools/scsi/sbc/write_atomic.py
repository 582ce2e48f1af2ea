"""WRITE ATOMIC(16) (SBC-4 5.48, 4.29): after a power cut all the blocks are as written, or none is."""

from __future__ import annotations

from functools import partial

from iscsitools.scsi.core.cdb import u16, u64
from iscsitools.scsi.core.errors import illegal_request, invalid_field
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.sbc.read_write import take_blocks
from iscsitools.wire.sense import Asc


def longest(task: Task) -> int:
    """Blocks of one atomic write: the Block Limits page's MAXIMUM ATOMIC TRANSFER LENGTH; 0: none is possible."""
    unit = task.unit
    return 0 if unit.atomic is None else unit.atomic.longest // unit.block_size


def check_write_atomic(task: Task) -> None:
    """WRITE ATOMIC(16): range, then length; no boundary, so ATOMIC BOUNDARY has to be 0.

    An initiator that sends fewer blocks than it names would have them written as something that it did not ask for.
    """
    task.lba, task.blocks = u64(task.cdb, 2), u16(task.cdb, 12)
    if task.lba + task.blocks > task.unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)
    if task.blocks > longest(task):
        raise invalid_field(12, 7)
    take_blocks(task, task.blocks)
    if task.blocks and task.edtl < task.blocks * task.unit.block_size:
        raise illegal_request(Asc.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)


def write_atomic(task: Task) -> Work | None:
    """WRITE ATOMIC(16): durable before status, with FUA or without."""
    data, unit = task.parameters(), task.unit
    if not data:
        return None
    assert unit.atomic is not None  # else there is no such command
    return partial(unit.atomic.write, unit.store, task.lba * unit.block_size, data)
