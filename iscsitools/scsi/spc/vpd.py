"""Vital product data pages (SPC-4 7.8, SBC-3 6.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from iscsitools.scsi.copy.third_party_page import third_party_copy
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.thresholds import threshold_exponent

Page = Callable[[Task], bytes]

_LOGICAL_UNIT, _TARGET_PORT, _TARGET_DEVICE = 0x00, 0x10, 0x20
_BINARY, _ASCII, _UTF8 = 1, 2, 3
_T10_VENDOR, _NAA, _RELATIVE_PORT, _PORT_GROUP, _SCSI_NAME = 1, 3, 4, 5, 8
_ISCSI = 5


def _page(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0, code, len(body)) + body


def supported_pages(task: Task) -> bytes:
    """Page 00h, Supported VPD Pages (SPC-4 7.8.16)."""
    return _page(0x00, bytes(sorted(PAGES)))


def unit_serial_number(task: Task) -> bytes:
    """Page 80h, Unit Serial Number (SPC-4 7.8.18)."""
    return _page(0x80, task.unit.identity.serial.encode("ascii", "replace"))


def _designator(code_set: int, association: int, kind: int, value: bytes) -> bytes:
    if association == _LOGICAL_UNIT:
        return struct.pack(">BBxB", code_set, association | kind, len(value)) + value
    return struct.pack(">BBxB", _ISCSI << 4 | code_set, 0x80 | association | kind, len(value)) + value


def _scsi_name(text: str) -> bytes:
    """A SCSI name string: UTF-8, null-terminated, filled to a multiple of four bytes (SPC-4 7.8.6.11)."""
    raw = text.encode()[:252] + b"\0"
    return raw.ljust(-(-len(raw) // 4) * 4, b"\0")


def device_identification(task: Task) -> bytes:
    """Page 83h, Device Identification (SPC-4 7.8.6): the unit, the target port it was asked through, the target."""
    unit = task.unit
    port = task.nexus.target_port
    vendor = unit.options.vendor.encode("ascii", "replace")[:8].ljust(8)
    body = _designator(_BINARY, _LOGICAL_UNIT, _NAA, unit.identity.naa)
    body += _designator(_ASCII, _LOGICAL_UNIT, _T10_VENDOR, vendor + unit.identity.serial.encode("ascii", "replace"))
    body += _designator(_BINARY, _TARGET_PORT, _RELATIVE_PORT, struct.pack(">HH", 0, port))
    if unit.port_groups.asymmetric:
        group = unit.port_groups.number_of(port)
        body += _designator(_BINARY, _TARGET_PORT, _PORT_GROUP, struct.pack(">HH", 0, group))
    if unit.options.target:
        body += _designator(_UTF8, _TARGET_PORT, _SCSI_NAME, _scsi_name(f"{unit.options.target},t,0x{port:04x}"))
        body += _designator(_UTF8, _TARGET_DEVICE, _SCSI_NAME, _scsi_name(unit.options.target))
    return _page(0x83, body)


def extended_inquiry(task: Task) -> bytes:
    """Page 86h, Extended INQUIRY Data (SPC-4 7.8.7): HEADSUP, ORDSUP, SIMPSUP; V_SUP says if a cache is volatile."""
    body = bytearray(60)
    body[1] = 0x07
    body[2] = 0x01 if task.unit.capabilities.volatile_cache else 0
    return _page(0x86, bytes(body))


_OPTIMAL: Final = 2 << 20
"""Bytes in one command where the backstore has no wish: Linux's sd sends no more than 1280 KiB if nothing is said.

More makes its read-ahead, twice this, and its alignment of partitions larger for nothing.
"""


def block_limits(task: Task) -> bytes:
    """Page B0h, Block Limits (SBC-3 6.6.3), 60 bytes; lengths in logical blocks."""
    unit = task.unit
    limits = unit.limits
    per_physical = unit.physical_blocks
    body = struct.pack(
        ">BBHIIIIIIIQI16x",
        0,  # WSNZ 0: WRITE SAME of 0 blocks means all up to the end
        limits.compare_and_write,
        per_physical,
        limits.transfer,
        min(limits.transfer, (unit.capabilities.optimal_io_size or _OPTIMAL) // unit.block_size),
        limits.prefetch,
        limits.unmap if unit.thin else 0,
        limits.unmap_descriptors if unit.thin else 0,
        per_physical if unit.thin else 0,
        0x80000000 if unit.thin else 0,  # UGAVALID, alignment 0
        limits.write_same,
        0 if unit.atomic is None else unit.atomic.longest // unit.block_size,  # at any place, of any length up to it
    )  # fmt: skip
    return _page(0xB0, body)


def block_device_characteristics(task: Task) -> bytes:
    """Page B1h, Block Device Characteristics (SBC-3 6.6.2): 1 means that the medium does not rotate."""
    rate = 0 if task.unit.capabilities.rotational else 1
    return _page(0xB1, struct.pack(">HxB56x", rate, _WABEREQ))


_WABEREQ = 0x40
"""Reads of blocks that SANITIZE erased are GOOD: they are zeros."""
_LBPU, _LBPWS, _LBPWS10, _LBPRZ = 0x80, 0x40, 0x20, 0x04
_THIN = 2


def logical_block_provisioning(task: Task) -> bytes:
    """Page B2h, Logical Block Provisioning (SBC-3 6.6.4): unmapped blocks read as zeros (LBPRZ).

    There are thresholds where the backstore knows what the disk takes of it.
    """
    unit, thin = task.unit, task.unit.thin
    flags = _LBPU | _LBPWS | _LBPWS10 | _LBPRZ if thin else 0
    exponent = threshold_exponent(unit.block_size) if unit.counts_space else 0
    return _page(0xB2, struct.pack(">4B", exponent, flags, _THIN if thin else 0, 0))


PAGES: Final[dict[int, Page]] = {
    0x00: supported_pages,
    0x80: unit_serial_number,
    0x83: device_identification,
    0x86: extended_inquiry,
    0x8F: third_party_copy,
    0xB0: block_limits,
    0xB1: block_device_characteristics,
    0xB2: logical_block_provisioning,
}
"""The pages, by code."""
