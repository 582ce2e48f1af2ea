"""MODE SENSE and MODE SELECT, 6 and 10 (SPC-4 6.9 to 6.12)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from iscsitools.backstores.caller import call_for
from iscsitools.scsi.core.cdb import u16, u24, u32, u64
from iscsitools.scsi.core.errors import illegal_request, invalid_field, invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.executor import Elsewhere, Then, Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.spc.mode_list import decode, encode
from iscsitools.scsi.spc.mode_pages import ModePages, PageCode, Values, caches
from iscsitools.wire.sense import Asc

_ALL_PAGES, _ALL_SUBPAGES = 0x3F, 0xFF
_WP, _DPOFUA = 0x80, 0x10
_DBD, _LLBAA = 0x08, 0x10
_SAVED = 3
_SENSE_6, _SELECT_6 = 0x1A, 0x15


def check_mode_sense(task: Task) -> None:
    """Page, subpage and page control; saved values where there is a place for them."""
    cdb = task.cdb
    page, subpage = cdb[2] & 0x3F, cdb[3]
    pages = ModePages.of(task.unit)
    if page != _ALL_PAGES and all(code.page != page for code in pages.current):
        raise invalid_field(2, 5)
    if subpage not in (0, _ALL_SUBPAGES) and PageCode(page, subpage) not in pages.current:
        raise invalid_field(3, 7)
    if cdb[2] >> 6 == _SAVED and pages.place is None:
        raise illegal_request(Asc.SAVING_PARAMETERS_NOT_SUPPORTED)


def _wanted(pages: ModePages, page: int, subpage: int) -> list[PageCode]:
    """The pages that a PAGE CODE and a SUBPAGE CODE name, in ascending order (SPC-4 6.11.1)."""
    return sorted(
        code for code in pages.current if page in (_ALL_PAGES, code.page) and subpage in (_ALL_SUBPAGES, code.subpage)
    )


def mode_sense(task: Task) -> None:
    """MODE SENSE(6), (10)."""
    cdb, unit = task.cdb, task.unit
    short = cdb[0] == _SENSE_6
    descriptor = b"" if cdb[1] & _DBD else _block_descriptor(unit, long=not short and bool(cdb[1] & _LLBAA))
    pages = ModePages.of(unit)
    body = descriptor + encode(pages, cdb[2] >> 6, _wanted(pages, cdb[2] & 0x3F, cdb[3]))
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
    """The list is in the page format (PF); it can be saved (SP) where there is a place."""
    cdb = task.cdb
    if cdb[1] & _SP and ModePages.of(task.unit).place is None:
        raise invalid_field(1, 0)
    length = cdb[4] if cdb[0] == _SELECT_6 else u16(cdb, 7)
    if length and not cdb[1] & _PF:
        raise invalid_field(1, 4)
    task.take(length)


def mode_select(task: Task) -> Work | None:
    """MODE SELECT(6), (10): other nexuses learn of a change by MODE PARAMETERS CHANGED.

    It runs alone and, when it turns WCE off, writes out the cache before its status (SBC-3 6.5.5): from then on every
    write that was answered is durable. With SP all pages' values are saved, durable before the status too. The values
    are current when all that has succeeded, and as before when it has not.
    """
    unit, pages = task.unit, ModePages.of(task.unit)
    values = dict(pages.current)
    if task.data_out_length:
        values |= _read_list(task, pages)
    saves, flushes = bool(task.cdb[1] & _SP), unit.write_cache and not caches(values)
    then = partial(_take, task, values, saves)
    keep = pages.keeping(pages.text_of(values)) if saves else _nothing
    if flushes and unit.store.blocking:
        return Elsewhere(
            Then(unit.executor, then), partial(call_for, task.nexus.initiator, partial(_flush, unit, keep))
        )
    if flushes:
        unit.store.flush()
    if pages.place is not None and saves:
        return Elsewhere(Then(pages.place.executor, then), keep)
    then()
    return None


def _take(task: Task, values: Values, saved: bool) -> None:
    """The values are current from now on; those of a command that was aborted only if they are saved already."""
    unit = task.unit
    if (saved or not task.aborted) and ModePages.of(unit).take(values, saved):
        unit.attention(Asc.MODE_PARAMETERS_CHANGED, but=task.nexus)
        unit.refresh()


def _flush(unit: LogicalUnit, keep: Callable[[], None]) -> None:
    unit.store.flush()
    keep()


def _nothing() -> None:
    """Nothing is kept."""


def _read_list(task: Task, pages: ModePages) -> Values:
    """Header, block descriptor and pages of the parameter list. Raises ScsiError when one of them is wrong."""
    data, unit = task.parameters(), task.unit
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
    return decode(pages, data[header + descriptor :], header + descriptor)


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
