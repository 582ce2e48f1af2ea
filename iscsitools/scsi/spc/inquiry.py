"""INQUIRY: the standard data, and which vital product data page answers (SPC-4 6.6)."""

from __future__ import annotations

import struct

from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import invalid_field
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.spc import vpd

_SPC4 = 0x06
_CMDQUE = 0x02
_TPGS = 0x30
_3PC = 0x08
_MULTIP = 0x10
# Version descriptors (SPC-4 table 158): SAM-5, SPC-4, SBC-3, iSCSI, each "no version claimed".
_VERSIONS = struct.pack(">8H", 0x00A0, 0x0460, 0x04C0, 0x0960, 0, 0, 0, 0)
NO_UNIT = 0x7F
"""Peripheral qualifier 011b, device type 1Fh: no unit can be there (SPC-4 6.6.2)."""


def ascii_field(text: str, length: int) -> bytes:
    """Left-aligned ASCII, filled with spaces (SPC-4 4.3.1)."""
    return text.encode("ascii", "replace")[:length].ljust(length)


def standard_data(
    peripheral: int, removable: bool, vendor: str, product: str, revision: str, access: int = 0, multiport: int = 0
) -> bytes:
    """The standard INQUIRY data (SPC-4 6.6.2): 96 bytes, HISUP, fixed-size fields and version descriptors.

    ``access``: byte 5, TPGS and 3PC; ``multiport``: byte 6, MULTIP.
    """
    head = struct.pack(">8B", peripheral, 0x80 if removable else 0, _SPC4, 0x12, 96 - 5, access, multiport, _CMDQUE)
    text = ascii_field(vendor, 8) + ascii_field(product, 16) + ascii_field(revision, 4)
    return (head + text).ljust(58, b"\0") + _VERSIONS + bytes(22)


def check_inquiry_cdb(cdb: bytes) -> None:
    """A page code without EVPD is an invalid field (SPC-4 6.6.1)."""
    if not cdb[1] & 1 and cdb[2]:
        raise invalid_field(2, 7)


def check_inquiry(task: Task) -> None:
    """Check the page code."""
    cdb = task.cdb
    check_inquiry_cdb(cdb)
    if cdb[1] & 1 and cdb[2] not in vpd.PAGES:
        raise invalid_field(2, 7)


def inquiry(task: Task) -> None:
    """INQUIRY (SPC-4 6.6)."""
    cdb = task.cdb
    page = vpd.PAGES[cdb[2]](task) if cdb[1] & 1 else unit_standard_data(task.unit)
    task.reply(page, u16(cdb, 3))


def unit_standard_data(unit: LogicalUnit) -> bytes:
    """The standard INQUIRY data of a unit that is there.

    3PC says that it has third-party copy commands; TPGS that access states change both by themselves and by SET TARGET
    PORT GROUPS; MULTIP that the target has several ports.
    """
    options = unit.options
    access = _3PC | (_TPGS if unit.port_groups.asymmetric else 0)
    multiport = _MULTIP if len(unit.port_groups.ports) > 1 else 0
    return standard_data(0, options.removable, options.vendor, options.product, options.revision, access, multiport)
