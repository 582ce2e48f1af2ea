"""REPORT TIMESTAMP and SET TIMESTAMP (SPC-4 5.2, 6.36, 6.46)."""

from __future__ import annotations

import struct
from typing import Any

from iscsitools.scsi.core.cdb import u32
from iscsitools.scsi.core.errors import invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.wire.sense import Asc

_SET, _BY_OTHER_MEANS = 2, 3
_LENGTH = 12


class Timestamp(Part):
    """The unit's clock: the machine's, or what SET TIMESTAMP made of it. No reset changes it."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self.ahead = 0
        """Milliseconds that SET TIMESTAMP put it ahead of the machine's clock."""
        self.origin = _BY_OTHER_MEANS

    def state(self) -> Any:
        """How far ahead it is, and who set it."""
        return [self.ahead, self.origin]

    def take_state(self, state: Any) -> None:
        """Go on with that."""
        self.ahead, self.origin = map(int, state)


def report_timestamp(task: Task) -> None:
    """REPORT TIMESTAMP: milliseconds since 1970, and who set the clock."""
    unit = task.unit
    clock = Timestamp.of(unit)
    now = (unit.clock() + clock.ahead) & 0xFFFFFFFFFFFF
    task.reply(struct.pack(">HBxHIxx", _LENGTH - 2, clock.origin, now >> 32, now & 0xFFFFFFFF), u32(task.cdb, 6))


def check_set_timestamp(task: Task) -> None:
    """SET TIMESTAMP: a parameter list of 12 bytes, or none."""
    length = u32(task.cdb, 6)
    if 0 < length < _LENGTH:
        raise parameter_list_length_error()
    task.take(min(length, _LENGTH))


def set_timestamp(task: Task) -> None:
    """SET TIMESTAMP: the other nexuses learn of it by TIMESTAMP CHANGED."""
    data, unit = task.parameters(), task.unit
    if not data:
        return
    if any(data[:4]) or any(data[10:12]):
        raise invalid_parameter(0)
    clock = Timestamp.of(unit)
    clock.ahead = int.from_bytes(data[4:10], "big") - unit.clock()
    clock.origin = _SET
    unit.attention(Asc.TIMESTAMP_CHANGED, but=task.nexus)
