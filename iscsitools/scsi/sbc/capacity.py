"""READ CAPACITY(10) and (16) (SBC-3 5.15, 5.16)."""

from __future__ import annotations

import struct

from iscsitools.scsi.core.cdb import u32
from iscsitools.scsi.core.errors import invalid_field
from iscsitools.scsi.core.task import Task

_LBPME_LBPRZ = 0xC000


def check_read_capacity_10(task: Task) -> None:
    """An LBA without PMI is an invalid field (SBC-2 5.10.1; SBC-3 made both obsolete)."""
    cdb = task.cdb
    if not cdb[8] & 1 and u32(cdb, 2):
        raise invalid_field(2, 7)


def read_capacity_10(task: Task) -> None:
    """READ CAPACITY(10): last LBA, or FFFFFFFFh when it has no room; block length in bytes."""
    last = min(task.unit.blocks - 1, 0xFFFFFFFF)
    task.reply(struct.pack(">II", last, task.unit.block_size), 8)


def read_capacity_16(task: Task) -> None:
    """READ CAPACITY(16): 32 bytes, with physical blocks and provisioning."""
    unit = task.unit
    exponent = unit.physical_blocks.bit_length() - 1
    data = struct.pack(
        ">QIBBH16x", unit.blocks - 1, unit.block_size, 0, exponent, _LBPME_LBPRZ if unit.thin else 0
    )  # fmt: skip
    task.reply(data, u32(task.cdb, 10))
