"""LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8, 7.3; SBC-3 6.4): what can truly be counted of a disk of software."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import illegal_request, invalid_field
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.sense import Asc

_ALL_SUBPAGES = 0xFF
_SUBPAGE_FORMAT = 0x40
_BINARY_LIST = 0x03
"""FORMAT AND LINKING of a binary format list log parameter (SPC-4 table 270)."""
_UNCORRECTED, _CORRECTED = 0x0006, 0x0003
_NO_TEMPERATURE = 0xFF
_FAILURE_PREDICTED = 0x5D
_UNSAVED = 0x01


def _parameter(code: int, value: bytes) -> bytes:
    return struct.pack(">HBB", code, _BINARY_LIST, len(value)) + value


def _errors(*words: str) -> Callable[[LogicalUnit], bytes]:
    """An error counter page: errors of the commands whose names begin with one of ``words``; none is ever corrected."""

    def page(unit: LogicalUnit) -> bytes:
        found = sum(count for name, count in unit.failures.items() if name.startswith(words))
        return _parameter(_CORRECTED, bytes(8)) + _parameter(_UNCORRECTED, struct.pack(">Q", found))

    return page


def _supported(unit: LogicalUnit) -> bytes:
    return bytes(sorted(PAGES))


def _temperature(unit: LogicalUnit) -> bytes:
    """Page 0Dh: a disk of software has no thermometer."""
    return _parameter(0, bytes([0, _NO_TEMPERATURE])) + _parameter(1, bytes([0, _NO_TEMPERATURE]))


def _background_scan(unit: LogicalUnit) -> bytes:
    """Page 15h (SBC-3 6.4.2): nothing scans the medium on its own."""
    return _parameter(0, bytes(12))


def _exceptions(unit: LogicalUnit) -> bytes:
    """Page 2Fh: FAILURE PREDICTION THRESHOLD EXCEEDED once the backstore has failed, until the counters are reset."""
    failing = _FAILURE_PREDICTED if sum(unit.failures.values()) else 0
    return _parameter(0, bytes([failing, 0, _NO_TEMPERATURE, 0]))


PAGES: Final[dict[int, Callable[[LogicalUnit], bytes]]] = {
    0x00: _supported,
    0x02: _errors("WRITE", "UNMAP", "SYNCHRONIZE", "COMPARE", "ORWRITE"),
    0x03: _errors("READ"),
    0x05: _errors("VERIFY"),
    0x0D: _temperature,
    0x15: _background_scan,
    0x2F: _exceptions,
}
"""The pages, by code, without their headers."""


def check_log_sense(task: Task) -> None:
    """LOG SENSE: the page is there, it has no subpages, and parameters are not saved (SP) nor skipped."""
    cdb = task.cdb
    if cdb[1] & _UNSAVED:
        raise invalid_field(1, 0)
    if cdb[2] & 0x3F not in PAGES:
        raise invalid_field(2, 5)
    if cdb[3] not in (0, _ALL_SUBPAGES) or (cdb[3] and cdb[2] & 0x3F):
        raise invalid_field(3, 7)
    if u16(cdb, 5):
        raise invalid_field(5, 7)


def log_sense(task: Task) -> None:
    """LOG SENSE: the cumulative values, whatever PAGE CONTROL asks for, as there are no thresholds."""
    code, subpage = task.cdb[2] & 0x3F, task.cdb[3]
    body = PAGES[code](task.unit)
    if subpage:  # the list of pages with their subpages: each has none
        code |= _SUBPAGE_FORMAT
        body = b"".join(bytes([page, 0]) for page in body)
    task.reply(struct.pack(">BBH", code, subpage, len(body)) + body, u16(task.cdb, 7))


def check_log_select(task: Task) -> None:
    """LOG SELECT: PCR resets counters; parameters cannot be set, nor saved."""
    cdb = task.cdb
    if cdb[1] & _UNSAVED:
        raise invalid_field(1, 0)
    if u16(cdb, 7):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    if cdb[2] & 0x3F and cdb[2] & 0x3F not in PAGES:
        raise invalid_field(2, 5)


def log_select(task: Task) -> None:
    """LOG SELECT with PCR: the counters of all pages begin anew; the others learn of it."""
    if task.cdb[1] & 0x02:
        task.unit.failures.clear()
        task.unit.attention(Asc.LOG_PARAMETERS_CHANGED, but=task.nexus)
