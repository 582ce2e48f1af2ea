"""LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8)."""

from __future__ import annotations

import struct
from functools import partial

from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import illegal_request, invalid_field
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.spc.log_pages import PAGES, PROVISIONING, pages_of, reset_counters
from iscsitools.wire.sense import Asc

_ALL_SUBPAGES = 0xFF
_SUBPAGE_FORMAT = 0x40
_SP = 0x01


def check_log_sense(task: Task) -> None:
    """LOG SENSE: the page is there, it has no subpages, and parameters are not saved (SP) nor skipped."""
    cdb = task.cdb
    if cdb[1] & _SP:
        raise invalid_field(1, 0)
    if cdb[2] & 0x3F not in pages_of(task.unit):
        raise invalid_field(2, 5)
    if cdb[3] not in (0, _ALL_SUBPAGES) or (cdb[3] and cdb[2] & 0x3F):
        raise invalid_field(3, 7)
    if u16(cdb, 5):
        raise invalid_field(5, 7)


def log_sense(task: Task) -> Work | None:
    """LOG SENSE: the cumulative values, whatever PAGE CONTROL asks for: a page's thresholds stand in a mode page."""
    if task.cdb[2] & 0x3F == PROVISIONING:  # its values are the backstore's, which may have to be waited for
        return partial(_answer, task)
    _answer(task)
    return None


def _answer(task: Task) -> None:
    code, subpage = task.cdb[2] & 0x3F, task.cdb[3]
    body = PAGES[code](task.unit)
    if subpage:  # the list of pages with their subpages: each has none
        code |= _SUBPAGE_FORMAT
        body = b"".join(bytes([page, 0]) for page in body)
    task.result = task.data_in = (struct.pack(">BBH", code, subpage, len(body)) + body)[: u16(task.cdb, 7)]


def check_log_select(task: Task) -> None:
    """LOG SELECT: PCR resets counters; parameters cannot be set, nor saved."""
    cdb = task.cdb
    if cdb[1] & _SP:
        raise invalid_field(1, 0)
    if u16(cdb, 7):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    if cdb[2] & 0x3F and cdb[2] & 0x3F not in pages_of(task.unit):
        raise invalid_field(2, 5)


def log_select(task: Task) -> None:
    """LOG SELECT with PCR: the counters of all pages begin anew; the others learn of it."""
    if task.cdb[1] & 0x02:
        reset_counters(task.unit)
        task.unit.attention(Asc.LOG_PARAMETERS_CHANGED, but=task.nexus)
