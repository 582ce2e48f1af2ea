"""RECEIVE COPY RESULTS (SPC-4 6.22 to 6.27), RECEIVE ROD TOKEN INFORMATION (6.28), COPY OPERATION ABORT (6.3)."""

from __future__ import annotations

import struct
from typing import Final

from iscsitools.scsi.copy.descriptors import MOST_BLOCKS, SUPPORTED
from iscsitools.scsi.copy.extended_copy import MOST_CSCDS, MOST_DESCRIPTORS, MOST_SEGMENTS
from iscsitools.scsi.copy.manager import MOST_AT_ONCE, Copies, CopyKind, Known
from iscsitools.scsi.copy.operation import CopyState
from iscsitools.scsi.core.cdb import u32
from iscsitools.scsi.core.errors import invalid_field
from iscsitools.scsi.core.task import Task

_STATUS_1: Final = {CopyState.RUNNING: 0, CopyState.DONE: 1, CopyState.FAILED: 2, CopyState.ABORTED: 2}
_STATUS_4: Final = {CopyState.DONE: 0x01, CopyState.FAILED: 0x02, CopyState.ABORTED: 0x60}
_IN_FOREGROUND, _IN_BACKGROUND = 0x11, 0x12
_BYTES, _BLOCKS = 0x00, 0xF1
_NO_LIST_ID: Final = 1
_LOOK_AGAIN: Final = 1000
"""Milliseconds that an initiator had better wait before it asks again."""


def _known(task: Task, kind: CopyKind, identifier: int) -> Known:
    found = Copies.of(task.unit).find(task.nexus, kind, identifier)
    if found is None:
        raise invalid_field(2, 7)
    return found


def copy_status(task: Task) -> None:
    """COPY STATUS(LID1) (SPC-4 6.24)."""
    known = _known(task, CopyKind.LID1, task.cdb[2])
    operation = known.operation
    status, copied, units = _STATUS_1[operation.state], operation.copied, _BYTES
    while copied > 0xFFFFFFFF:  # KiB, MiB, ...
        copied, units = copied >> 10, units + 1
    task.reply(struct.pack(">IBHBI", 8, status, min(operation.processed, 0xFFFF), units, copied), u32(task.cdb, 10))


def operating_parameters(task: Task) -> None:
    """OPERATING PARAMETERS (SPC-4 6.25): what EXTENDED COPY takes."""
    body = struct.pack(
        ">B3xHHIIIII2xHBBBB3xB", _NO_LIST_ID, MOST_CSCDS, MOST_SEGMENTS, MOST_DESCRIPTORS,
        MOST_BLOCKS * task.unit.block_size, 0, 0, 0, MOST_AT_ONCE, MOST_AT_ONCE,
        task.unit.block_size.bit_length() - 1, 0, 0, len(SUPPORTED),
    )  # fmt: skip
    task.reply(struct.pack(">I", len(body) + len(SUPPORTED)) + body + SUPPORTED, u32(task.cdb, 10))


def failed_segment_details(task: Task) -> None:
    """FAILED SEGMENT DETAILS (SPC-4 6.26): the status and sense data that an operation ended with."""
    operation = _known(task, CopyKind.LID1, task.cdb[2]).operation
    error = operation.error
    if operation.state is CopyState.RUNNING or error is None:
        task.reply(bytes(4), u32(task.cdb, 10))
        return
    body = struct.pack(">52xBxH", error.status, len(error.sense)) + error.sense
    task.reply(struct.pack(">I", len(body)) + body, u32(task.cdb, 10))


def copy_status_4(task: Task) -> None:
    """COPY STATUS(LID4) (SPC-4 6.23)."""
    _reply_4(task, with_tokens=False)


def rod_token_information(task: Task) -> None:
    """RECEIVE ROD TOKEN INFORMATION (SPC-4 6.28): as COPY STATUS(LID4), and the tokens."""
    _reply_4(task, with_tokens=True)


def _reply_4(task: Task, with_tokens: bool) -> None:
    known = _known(task, CopyKind.LID4, u32(task.cdb, 2))
    operation = known.operation
    running = operation.state is CopyState.RUNNING
    status = (_IN_BACKGROUND if known.in_background else _IN_FOREGROUND) if running else _STATUS_4[operation.state]
    error = None if running else operation.error
    sense = b"" if error is None else error.sense
    completion = 0 if error is None else error.status
    body = struct.pack(
        ">BBHIBBBBQH6x", known.service_action, status, 1, _LOOK_AGAIN if running else 0xFFFFFFFE, completion,
        len(sense), len(sense), _BLOCKS, operation.copied // task.unit.block_size,
        min(operation.processed, 0xFFFF),
    ) + sense  # fmt: skip
    if with_tokens:
        tokens = b"".join(struct.pack(">H", 0) + token for token in known.tokens)
        body += struct.pack(">I", len(tokens)) + tokens
    task.reply(struct.pack(">I", len(body)) + body, u32(task.cdb, 10))


def copy_operation_abort(task: Task) -> None:
    """COPY OPERATION ABORT (SPC-4 6.3): ends the operation of a list identifier; it may have ended already."""
    _known(task, CopyKind.LID4, u32(task.cdb, 2)).operation.stop()
