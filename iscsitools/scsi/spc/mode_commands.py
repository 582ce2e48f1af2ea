"""MODE SENSE and MODE SELECT, 6 and 10 (SPC-4 6.9 to 6.12)."""

from __future__ import annotations

import struct

from iscsitools.backstores.asynchronous import flush_request
from iscsitools.scsi.core.cdb import u16, u24, u32, u64
from iscsitools.scsi.core.errors import illegal_request, invalid_field, invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.spc.mode_pages import PAGES, ModePages
from iscsitools.wire.sense import Asc

_ALL_PAGES, _ALL_SUBPAGES = 0x3F, 0xFF
_WP, _DPOFUA = 0x80, 0x10
_DBD, _LLBAA = 0x08, 0x10
_SAVED = 3
_SENSE_6, _SELECT_6 = 0x1A, 0x15


def check_mode_sense(task: Task) -> None:
    """Page, subpage and page control. No page has subpages; no values are saved."""
    cdb = task.cdb
    page, subpage = cdb[2] & 0x3F, cdb[3]
    if page != _ALL_PAGES and page not in PAGES:
        raise invalid_field(2, 5)
    if subpage not in (0, _ALL_SUBPAGES):
        raise invalid_field(3, 7)
    if cdb[2] >> 6 == _SAVED:
        raise illegal_request(Asc.SAVING_PARAMETERS_NOT_SUPPORTED)


def mode_sense(task: Task) -> None:
    """MODE SENSE(6), (10)."""
    cdb, unit = task.cdb, task.unit
    short = cdb[0] == _SENSE_6
    descriptor = b"" if cdb[1] & _DBD else _block_descriptor(unit, long=not short and bool(cdb[1] & _LLBAA))
    values = ModePages.of(unit).values(cdb[2] >> 6)
    wanted = sorted(values) if cdb[2] & 0x3F == _ALL_PAGES else [cdb[2] & 0x3F]
    body = descriptor + b"".join(bytes([code, len(values[code])]) + values[code] for code in wanted)
    specific = _DPOFUA | (_WP if unit.write_protected else 0)
    if short:
        header = struct.pack(">4B", min(len(body) + 3, 255), 0, specific, len(descriptor))
    else:
        header = struct.pack(">HBBBxH", len(body) + 6, 0, specific, len(descriptor) == 16, len(descriptor))
    task.reply(header + body, cdb[4] if short else u16(cdb, 7))


def _block_descriptor(unit: LogicalUnit, long: bool) -> bytes:
    if long:
        return struct.pack(">Q4xI", unit.blocks, unit.block_size)
    return struct.pack(">II", min(unit.blocks, 0xFFFFFFFF), unit.block_size)


_PF, _SP = 0x10, 0x01


def check_mode_select(task: Task) -> None:
    """The list is in the page format (PF), and is not to be saved (SP)."""
    cdb = task.cdb
    if cdb[1] & _SP:
        raise invalid_field(1, 0)
    length = cdb[4] if cdb[0] == _SELECT_6 else u16(cdb, 7)
    if length and not cdb[1] & _PF:
        raise invalid_field(1, 4)
    task.take(length)


def mode_select(task: Task) -> Work | None:
    """MODE SELECT(6), (10): other nexuses learn of a change by MODE PARAMETERS CHANGED.

    It runs alone and, when it turns WCE off, writes out the cache before its status (SBC-3 6.5.5): from then on every
    write that was answered is durable.
    """
    data, unit = task.parameters(), task.unit
    if not data:
        return None
    short = task.cdb[0] == _SELECT_6
    header = 4 if short else 8
    if len(data) < header:
        raise parameter_list_length_error()
    descriptor = data[3] if short else u16(data, 6)
    long = not short and bool(data[4] & 1)
    if descriptor not in (0, 16 if long else 8):
        raise invalid_parameter(3 if short else 6, 7)
    if len(data) < header + descriptor:
        raise parameter_list_length_error()
    if descriptor:
        _check_descriptor(unit, data[header : header + descriptor], header)
    cached = unit.write_cache
    if ModePages.of(unit).select(data[header + descriptor :], header + descriptor):
        unit.attention(Asc.MODE_PARAMETERS_CHANGED, but=task.nexus)
        unit.refresh()
    return flush_request() if cached and not unit.write_cache else None


def _check_descriptor(unit: LogicalUnit, data: memoryview, base: int) -> None:
    """A block descriptor may say again what is so; it changes neither number nor length of the blocks."""
    if len(data) == 16:
        blocks, length, at = u64(data, 0), u32(data, 12), 12
        unchanged = (0, unit.blocks, 0xFFFFFFFFFFFFFFFF)
    else:
        blocks, length, at = u32(data, 0), u24(data, 5), 5
        unchanged = (0, min(unit.blocks, 0xFFFFFFFF), 0xFFFFFFFF)
    if blocks not in unchanged:
        raise invalid_parameter(base, 7)
    if length != unit.block_size:
        raise invalid_parameter(base + at, 7)
