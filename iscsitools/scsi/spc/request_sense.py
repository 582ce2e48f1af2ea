"""REQUEST SENSE (SPC-4 6.39)."""

from __future__ import annotations

from iscsitools.scsi.core.sense import descriptor_sense, fixed_sense
from iscsitools.scsi.core.task import Task
from iscsitools.wire.sense import Asc, SenseKey

_DESC = 0x01


def request_sense(task: Task) -> None:
    """REQUEST SENSE: a pending unit attention, which this clears; else why the unit is not ready; else nothing."""
    asc = task.itl_nexus.take_attention()
    not_ready = task.unit.powerless or task.unit.not_ready
    if asc is not None:
        sense = fixed_sense(SenseKey.UNIT_ATTENTION, asc)
    elif not_ready is not None:
        sense = not_ready.sense
    else:
        sense = fixed_sense(SenseKey.NO_SENSE, Asc.NO_ADDITIONAL_SENSE)
    if task.cdb[1] & _DESC:
        sense = descriptor_sense(sense)
    task.reply(sense, task.cdb[4])
