"""SEND DIAGNOSTIC, RECEIVE DIAGNOSTIC RESULTS, READ BUFFER and WRITE BUFFER (SPC-4 6.20, 6.18, 6.30, 6.49)."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Final

from iscsitools.scsi.core.cdb import u16, u24
from iscsitools.scsi.core.errors import check_condition, illegal_request, invalid_field
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.wire.sense import Asc, SenseKey

_SELF_TEST = 0x04
_SELF_TESTS: Final = (0, 1, 2, 5, 6)
"""SELF-TEST CODEs: none, the short and the extended test in the background, the same in the foreground."""
_IN_FOREGROUND: Final = (0, 5, 6)
_PASSED, _FAILED = 0x0, 0x7
"""SELF-TEST RESULTS (SPC-4 table 353): without error; with a failure in a part that has no number."""
_RESULTS: Final = 20
"""Results that log page 10h has room for."""
_NO_FAILURE: Final = (1 << 64) - 1
_DATA, _DESCRIPTOR, _ECHO, _ECHO_DESCRIPTOR = 0x02, 0x03, 0x0A, 0x0B
BUFFER: Final = 64 << 10
"""Bytes of the data buffer."""
ECHO: Final = 4096
"""Bytes of each nexus's echo buffer."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A self-test that was done: its SELF-TEST CODE, and the LBA that could not be read; None: all went well."""

    code: int
    failed: int | None


class SelfTests(Part):
    """The results of the unit's last self-tests, the newest first. A reset leaves them."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self.done: deque[SelfTest] = deque(maxlen=_RESULTS)

    def page(self) -> bytes:
        """Log page 10h, Self-Test Results (SPC-4 7.3.22): always twenty parameters, those without a test of zeros."""
        return b"".join(
            struct.pack(">HBB", number + 1, 0x03, 16)
            + (_result(self.done[number]) if number < len(self.done) else bytes(16))
            for number in range(_RESULTS)
        )


def _result(test: SelfTest) -> bytes:
    if test.failed is None:
        return struct.pack(">BBHQ4x", test.code << 5 | _PASSED, 0, 0, _NO_FAILURE)
    sense = struct.pack(">BHx", SenseKey.HARDWARE_ERROR, Asc.FAILED_SELF_TEST)
    return struct.pack(">BBHQ", test.code << 5 | _FAILED, 0, 0, test.failed) + sense


def check_send_diagnostic(task: Task) -> None:
    """SEND DIAGNOSTIC: a self-test, none of which takes so long that it could be aborted; no diagnostic pages."""
    cdb = task.cdb
    if cdb[1] >> 5 not in _SELF_TESTS or (cdb[1] >> 5 and cdb[1] & _SELF_TEST):
        raise invalid_field(1, 7)
    if u16(cdb, 3):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)


def send_diagnostic(task: Task) -> Work | None:
    """SEND DIAGNOSTIC: the self-test reads the first block and the last; what the backstore raises is its result.

    One in the background has ended before the command does, since it takes no longer than two reads; that it failed is
    told by log page 10h alone.
    """
    code = task.cdb[1] >> 5
    if not task.cdb[1] & _SELF_TEST and not code:
        return None
    return partial(_test, task.unit, code)


def _test(unit: LogicalUnit, code: int) -> None:
    failed = error = None
    block = memoryview(bytearray(unit.block_size))
    for lba in (0, unit.blocks - 1):
        try:
            unit.store.read_into(lba * unit.block_size, block)
        except Exception as caught:
            failed, error = lba, caught
            break
    if code:
        SelfTests.of(unit).done.appendleft(SelfTest(code, failed))
    if error is not None and code in _IN_FOREGROUND:
        raise check_condition(SenseKey.HARDWARE_ERROR, Asc.FAILED_SELF_TEST) from error


def check_receive_diagnostic(task: Task) -> None:
    """RECEIVE DIAGNOSTIC RESULTS: page 00h only."""
    if task.cdb[1] & 1 and task.cdb[2]:
        raise invalid_field(2, 7)


def receive_diagnostic(task: Task) -> None:
    """RECEIVE DIAGNOSTIC RESULTS: the list of pages, which has one, itself."""
    task.reply(struct.pack(">BxHB", 0, 1, 0), u16(task.cdb, 3))


class DiagnosticBuffers(Part):
    """The data buffer of the unit, made when it is first written, and the echo buffers of the nexuses."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self.data = bytearray()
        self.echo: dict[Nexus, bytes] = {}

    def reset(self) -> None:
        """The data is gone."""
        self.data = bytearray()
        self.echo.clear()

    def nexus_lost(self, nexus: Nexus) -> None:
        """Its echo buffer goes."""
        self.echo.pop(nexus, None)


def check_read_buffer(task: Task) -> None:
    """READ BUFFER: one of the modes, buffer 0, an offset inside it."""
    mode = task.cdb[1] & 0x1F
    if mode not in (_DATA, _DESCRIPTOR, _ECHO, _ECHO_DESCRIPTOR):
        raise invalid_field(1, 4)
    if task.cdb[2] and mode in (_DATA, _DESCRIPTOR):
        raise invalid_field(2, 7)
    if u24(task.cdb, 3) > (BUFFER if mode == _DATA else 0):
        raise invalid_field(3, 7)


def read_buffer(task: Task) -> None:
    """READ BUFFER: what WRITE BUFFER wrote; zeros where it wrote nothing."""
    buffers = DiagnosticBuffers.of(task.unit)
    mode, offset, length = task.cdb[1] & 0x1F, u24(task.cdb, 3), u24(task.cdb, 6)
    if mode == _DESCRIPTOR:
        task.reply(struct.pack(">I", BUFFER), length)
    elif mode == _ECHO_DESCRIPTOR:
        task.reply(struct.pack(">I", ECHO), length)
    elif mode == _DATA:
        task.reply(bytes(buffers.data or BUFFER)[offset:], length)
    elif task.nexus not in buffers.echo:
        raise illegal_request(Asc.COMMAND_SEQUENCE_ERROR)
    else:
        task.reply(buffers.echo[task.nexus], length)


def check_write_buffer(task: Task) -> None:
    """WRITE BUFFER: data or echo, inside the buffer."""
    mode, offset, length = task.cdb[1] & 0x1F, u24(task.cdb, 3), u24(task.cdb, 6)
    if mode not in (_DATA, _ECHO):
        raise invalid_field(1, 4)
    if task.cdb[2] and mode == _DATA:
        raise invalid_field(2, 7)
    if offset > (BUFFER if mode == _DATA else 0):
        raise invalid_field(3, 7)
    if offset + length > (BUFFER if mode == _DATA else ECHO):
        raise invalid_field(6, 7)
    task.take(length)


def write_buffer(task: Task) -> None:
    """WRITE BUFFER: into memory; firmware is not to be had this way."""
    data, offset = task.parameters(), u24(task.cdb, 3)
    buffers = DiagnosticBuffers.of(task.unit)
    if task.cdb[1] & 0x1F == _ECHO:
        buffers.echo[task.nexus] = bytes(data)
        return
    if not buffers.data:
        buffers.data = bytearray(BUFFER)
    buffers.data[offset : offset + len(data)] = data
