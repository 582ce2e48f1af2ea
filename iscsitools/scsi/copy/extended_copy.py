"""EXTENDED COPY(LID1) (SPC-4 6.4): blocks are copied between units without passing through the initiator."""

from __future__ import annotations

from typing import Final

from iscsitools.scsi.copy.descriptors import (
    CSCD_LENGTH,
    SEGMENT_LENGTH,
    check_segment,
    find_unit,
    segment_of,
)
from iscsitools.scsi.copy.manager import Copies, CopyKind, Known
from iscsitools.scsi.copy.operation import CopyOperation
from iscsitools.scsi.copy.rights import Party
from iscsitools.scsi.copy.segment import Segment
from iscsitools.scsi.core.cdb import u16, u32
from iscsitools.scsi.core.errors import illegal_request, invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.executor import Elsewhere
from iscsitools.scsi.core.task import Task
from iscsitools.wire.sense import Asc

MOST_CSCDS: Final = 64
MOST_SEGMENTS: Final = 256
MOST_DESCRIPTORS: Final = MOST_CSCDS * CSCD_LENGTH + MOST_SEGMENTS * SEGMENT_LENGTH
"""Bytes of descriptors in one list."""
_HEADER: Final = 16
_LONGEST: Final = 1 << 16
_USE_LIST_ID, _NO_HELD_DATA, _NO_LIST_ID = 0, 2, 3


def check_extended_copy(task: Task) -> None:
    """A parameter list of a length that can be; none asks for nothing (SPC-4 6.4.1)."""
    length = u32(task.cdb, 10)
    if 0 < length < _HEADER or length > _LONGEST:
        raise parameter_list_length_error()
    task.take(length)


def extended_copy(task: Task) -> Elsewhere | None:
    """EXTENDED COPY(LID1): all descriptors are checked before the first block is copied; the status tells the end."""
    data = task.parameters()
    if not data:
        return None
    usage, identifier = data[1] >> 3 & 3, data[0]
    if usage not in (_USE_LIST_ID, _NO_HELD_DATA, _NO_LIST_ID):
        raise invalid_parameter(1, 4)
    if usage == _NO_LIST_ID and identifier:
        raise invalid_parameter(0, 7)
    copies = Copies.of(task.unit)
    if usage == _USE_LIST_ID:
        # Strictly for usage 10b too (SPC-4 6.4.3.2). But iscsi-dd gives one identifier to all of its fifty commands,
        # and who wants nothing held loses nothing by that: the last is the one that can be asked about.
        copies.check_free(task.nexus, CopyKind.LID1, identifier)
    party = Party(task.nexus, task.unit)
    operation = CopyOperation(party, _segments(party, data))
    if not operation.segments:
        return None
    return copies.begin(task, Known(0, operation), CopyKind.LID1, None if usage == _NO_LIST_ID else identifier)


def _segments(party: Party, data: memoryview) -> list[Segment]:
    cscds, segments, inline = u16(data, 2), u32(data, 8), u32(data, 12)
    if _HEADER + cscds + segments + inline > len(data) or cscds + segments > MOST_DESCRIPTORS:
        raise parameter_list_length_error()
    if inline:
        raise illegal_request(Asc.INLINE_DATA_LENGTH_EXCEEDED)
    if cscds % CSCD_LENGTH:
        raise invalid_parameter(2, 7)
    if cscds > MOST_CSCDS * CSCD_LENGTH:
        raise illegal_request(Asc.TOO_MANY_TARGET_DESCRIPTORS)
    first, end = _HEADER + cscds, _HEADER + cscds + segments
    units = [find_unit(party, data, at) for at in range(_HEADER, first, CSCD_LENGTH)]
    if segments > MOST_SEGMENTS * SEGMENT_LENGTH:
        raise illegal_request(Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
    at = first
    while at < end:
        if end - at < 4:
            raise invalid_parameter(8, 7)
        check_segment(data, at)
        at += SEGMENT_LENGTH
    if at != end:
        raise invalid_parameter(8, 7)
    return [segment_of(data, at, number, units) for number, at in enumerate(range(first, end, SEGMENT_LENGTH))]
