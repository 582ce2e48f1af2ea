"""Work on a whole medium that initiators can watch: the unit is not ready, and its sense data says how far it is."""

from __future__ import annotations

from iscsitools.scsi.core.errors import ScsiError
from iscsitools.scsi.core.executor import Steps
from iscsitools.scsi.core.sense import Progress, fixed_sense
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc, SenseKey


def in_progress(asc: Asc, numerator: int = 0) -> ScsiError:
    """NOT READY with this code, ``numerator`` of 65536 done (SPC-4 4.5.2.4.4)."""
    return ScsiError(
        Status.CHECK_CONDITION, fixed_sense(SenseKey.NOT_READY, asc, pointer=Progress(min(numerator, 65535)))
    )


def watched(unit: LogicalUnit, asc: Asc, total: int, steps: Steps) -> Steps:
    """``steps``, which work on ``total`` bytes; after each the unit says how many of them are done."""
    done = 0
    for request in steps:
        yield request
        done += request.length
        unit.not_ready = in_progress(asc, done * 65536 // max(1, total))
