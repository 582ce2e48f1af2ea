"""REPORT and SET TARGET PORT GROUPS (SPC-4 6.37, 6.45)."""

from __future__ import annotations

import math
import struct
from functools import partial
from typing import Final

from iscsitools.scsi.core.access import change_access
from iscsitools.scsi.core.cdb import Buffer, u16, u32
from iscsitools.scsi.core.errors import illegal_request, invalid_field, invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.executor import Elsewhere, Work
from iscsitools.scsi.core.port_groups import AccessState, PortGroup, StatusCode
from iscsitools.scsi.core.task import Task
from iscsitools.wire.sense import Asc

_EXTENDED_HEADER = 1
_PREFERRED = 0x80
_SUPPORTED: Final = 0x80 | 0x08 | 0x04 | 0x02 | 0x01
"""T_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP."""
_DESCRIPTOR = 4
_LONGEST = 4 + 4 * 1024


def check_report(task: Task) -> None:
    """REPORT TARGET PORT GROUPS: one of the two formats."""
    if task.cdb[1] >> 5 > _EXTENDED_HEADER:
        raise invalid_field(1, 7)


def report(task: Task) -> None:
    """REPORT TARGET PORT GROUPS: every group with state and ports; the long header has the time of a transition."""
    groups = task.unit.port_groups.groups
    seconds = min(255, math.ceil(task.unit.port_groups.transition))
    body = b"".join(_describe(number, group) for number, group in sorted(groups.items()))
    if task.cdb[1] >> 5 == _EXTENDED_HEADER:
        body = struct.pack(">BBH", _EXTENDED_HEADER << 4, seconds, 0) + body
    task.reply(struct.pack(">I", len(body)) + body, u32(task.cdb, 6))


def _describe(number: int, group: PortGroup) -> bytes:
    first = group.state | (_PREFERRED if group.preferred else 0)
    head = struct.pack(">BBHBBBB", first, _SUPPORTED, number, 0, group.status, 0, len(group.ports))
    return head + b"".join(struct.pack(">HH", 0, port) for port in group.ports)


def check_set(task: Task) -> None:
    """SET TARGET PORT GROUPS: where there are several; an empty list changes nothing."""
    if not task.unit.port_groups.asymmetric:
        raise illegal_request(Asc.INVALID_COMMAND_OPERATION_CODE)
    length = u32(task.cdb, 6)
    if 0 < length < 4 or length > _LONGEST or length % _DESCRIPTOR:
        raise parameter_list_length_error()
    task.take(length)


def set_states(task: Task) -> Work | None:
    """SET TARGET PORT GROUPS: all is checked before the first state changes; the other nexuses learn of it.

    Where a change takes its time, the status comes at its begin: the groups are transitioning then (SPC-4 5.15.2.6).
    Where several servers export the disk, its backstore brings the states about, and it takes the time that it takes.
    """
    data, unit = task.parameters(), task.unit
    wanted: dict[int, AccessState] = {}
    for at in range(4, len(data), _DESCRIPTOR):
        number, state = _wanted(task, data, at)
        wanted[number] = state
    place = unit.reservation_place
    if unit.store.access is not None and place is not None:
        names = {number: state.name.lower().replace("_", "-") for number, state in wanted.items()}
        return Elsewhere(place.executor, partial(unit.store.request_access, names))
    change_access(unit, wanted, StatusCode.COMMAND, but=task.nexus)
    return None


def _wanted(task: Task, data: Buffer, at: int) -> tuple[int, AccessState]:
    """One descriptor: a group that is there, and a state that can be asked for."""
    number, value = u16(data, at + 2), data[at] & 0x0F
    if value not in AccessState.__members__.values() or value == AccessState.TRANSITIONING:
        raise invalid_parameter(at, 3)
    if number not in task.unit.port_groups.groups:
        raise invalid_parameter(at + 2, 7)
    return number, AccessState(value)
