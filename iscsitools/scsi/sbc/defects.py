"""READ DEFECT DATA(10) and (12) (SBC-3 5.17, 5.18): both lists are empty."""

from __future__ import annotations

import struct

from iscsitools.scsi.core.cdb import u16, u32
from iscsitools.scsi.core.task import Task


def read_defect_data_10(task: Task) -> None:
    """READ DEFECT DATA(10): the header alone, with the lists and the format that were asked for."""
    cdb = task.cdb
    task.reply(struct.pack(">BBH", 0, cdb[2] & 0x1F, 0), u16(cdb, 7))


def read_defect_data_12(task: Task) -> None:
    """READ DEFECT DATA(12): likewise, with its longer header."""
    cdb = task.cdb
    task.reply(struct.pack(">BBHI", 0, cdb[1] & 0x1F, 0, 0), u32(cdb, 6))
