"""REQUEST SENSE, and the sense data of a pending unit attention (SPC-4 6.39, SAM-5 5.14)."""

from __future__ import annotations

from iscsitools.scsi.core.command import Call
from iscsitools.scsi.core.errors import ScsiError
from iscsitools.scsi.core.sense import fixed_sense
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc, SenseKey


def unit_attention(asc: Asc) -> ScsiError:
    """CHECK CONDITION for a pending unit attention."""
    return ScsiError(Status.CHECK_CONDITION, fixed_sense(SenseKey.UNIT_ATTENTION, asc))


def request_sense(call: Call) -> None:
    """REQUEST SENSE: a pending unit attention, which this clears; else why the unit is not ready; else nothing."""
    asc = call.itl.take_attention()
    medium = call.unit.medium
    if asc is not None:
        sense = fixed_sense(SenseKey.UNIT_ATTENTION, asc)
    elif not medium.loaded:
        sense = medium.not_ready().sense
    else:
        sense = fixed_sense(SenseKey.NO_SENSE, Asc.NO_ADDITIONAL_SENSE)
    call.reply(sense, call.task.cdb[4])
