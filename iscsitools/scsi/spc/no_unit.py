"""What a logical unit number answers that names no unit (SPC-4 6.6.1, 6.33, 6.39; SAM-5 5.11)."""

from __future__ import annotations

from collections.abc import Mapping

from iscsitools.scsi.core.cdb import u16, u32
from iscsitools.scsi.core.errors import illegal_request, invalid_field
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.sense import fixed_sense
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.spc.inquiry import NO_UNIT, check_inquiry_cdb, standard_data
from iscsitools.scsi.spc.reports import lun_list
from iscsitools.wire.sense import Asc, SenseKey

_INQUIRY, _REPORT_LUNS, _REQUEST_SENSE = 0x12, 0xA0, 0x03
_DEFAULTS = UnitOptions()


def answer(task: Task, units: Mapping[int, LogicalUnit]) -> None:
    """Set the task's result: INQUIRY, REPORT LUNS and REQUEST SENSE are answered, others raise ScsiError."""
    cdb = task.cdb
    opcode = cdb[0] if cdb else -1
    if opcode == _INQUIRY and len(cdb) >= 6:
        check_inquiry_cdb(cdb)
        if cdb[1] & 1:
            raise invalid_field(1, 0)
        data = standard_data(NO_UNIT, False, _DEFAULTS.vendor, _DEFAULTS.product, _DEFAULTS.revision)
        task.data_in = data[: u16(cdb, 3)]
    elif opcode == _REPORT_LUNS and len(cdb) >= 12:
        task.data_in = lun_list(task.nexus.luns_of(units), cdb)[: u32(cdb, 6)]
    elif opcode == _REQUEST_SENSE and len(cdb) >= 6:
        task.data_in = fixed_sense(SenseKey.ILLEGAL_REQUEST, Asc.LOGICAL_UNIT_NOT_SUPPORTED)[: cdb[4]]
    else:
        raise illegal_request(Asc.LOGICAL_UNIT_NOT_SUPPORTED)
