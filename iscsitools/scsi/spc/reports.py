"""REPORT LUNS, REPORT SUPPORTED OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.33 to 6.35)."""

from __future__ import annotations

import struct

from iscsitools.scsi.core.cdb import u16, u32
from iscsitools.scsi.core.command import ACTION_MASK, Command
from iscsitools.scsi.core.errors import invalid_field
from iscsitools.scsi.core.task import Task
from iscsitools.wire.sense import Asc

_WELL_KNOWN_ONLY = 0x01
_SUPPORTED, _NOT_SUPPORTED = 0x03, 0x01
_CTDP_IN_LIST, _SERVACTV = 0x02, 0x01
_CTDP_IN_ONE = 0x80
# No time is promised for any command: NOMINAL and RECOMMENDED COMMAND TIMEOUT are 0 (SPC-4 6.34.4).
_TIMEOUTS = struct.pack(">HHII", 0x0A, 0, 0, 0)


def encode_lun(number: int) -> bytes:
    """The 8-byte LUN of a unit number: peripheral addressing up to 255, then flat space (SAM-5 4.6)."""
    return struct.pack(">H6x", number if number < 256 else 0x4000 | number)


def lun_list(numbers: list[int], cdb: bytes) -> bytes:
    """REPORT LUNS data for a CDB, before truncation; raises for a bad SELECT REPORT or allocation length.

    There are no well-known logical units: SELECT REPORT 01h gives an empty list.
    """
    if cdb[2] > 2:
        raise invalid_field(2, 7)
    if u32(cdb, 6) < 16:
        raise invalid_field(6, 7)
    luns = b"" if cdb[2] == _WELL_KNOWN_ONLY else b"".join(map(encode_lun, sorted(numbers)))
    return struct.pack(">I4x", len(luns)) + luns


def check_report_luns(task: Task) -> None:
    """Check SELECT REPORT and ALLOCATION LENGTH (SPC-4 6.33)."""
    lun_list([], task.cdb)


def report_luns(task: Task) -> None:
    """REPORT LUNS; it clears REPORTED LUNS DATA HAS CHANGED for this nexus on every unit (SPC-4 6.33)."""
    units = task.unit.siblings
    for unit in units.values():
        itl_nexus = unit.itl_nexuses.get(task.nexus)
        if itl_nexus is not None:
            itl_nexus.clear_attention(Asc.REPORTED_LUNS_DATA_HAS_CHANGED)
    task.reply(lun_list(task.nexus.luns_of(units), task.cdb), u32(task.cdb, 6))


def check_operation_codes(task: Task) -> None:
    """REPORTING OPTIONS against the operation code that is asked for (SPC-4 table 246)."""
    cdb = task.cdb
    option = cdb[2] & 7
    divided = task.unit.commands.has_actions(cdb[3])
    if option > 3 or (option == 1 and divided):
        raise invalid_field(2, 2)
    if option == 2 and not divided and task.unit.commands.get(cdb[3], None) is not None:
        raise invalid_field(2, 2)


def _list_entry(command: Command, timeouts: bool) -> bytes:
    flags = (_CTDP_IN_LIST if timeouts else 0) | (_SERVACTV if command.service_action is not None else 0)
    entry = struct.pack(">BxHxBH", command.opcode, command.service_action or 0, flags, command.length)
    return entry + (_TIMEOUTS if timeouts else b"")


def _one_command(task: Task, timeouts: bool) -> bytes:
    cdb = task.cdb
    option, opcode, action = cdb[2] & 7, cdb[3], u16(cdb, 4)
    commands = task.unit.commands
    divided = commands.has_actions(opcode)
    command = commands.get(opcode, action if option == 2 or (option == 3 and divided) else None)
    if command is None:
        return struct.pack(">BBH", 0, _NOT_SUPPORTED, 0)
    flags = _SUPPORTED | (_CTDP_IN_ONE if timeouts else 0)
    usage = bytearray(command.usage)
    if command.service_action is not None:
        usage[1] = usage[1] & ~ACTION_MASK | command.service_action  # the value stands there, no bits (SPC-4 6.34.3)
    return struct.pack(">BBH", 0, flags, command.length) + usage + (_TIMEOUTS if timeouts else b"")


def report_operation_codes(task: Task) -> None:
    """REPORT SUPPORTED OPERATION CODES: all, or one with its CDB usage data (SPC-4 6.34)."""
    cdb = task.cdb
    timeouts = bool(cdb[2] & 0x80)
    if cdb[2] & 7:
        data = _one_command(task, timeouts)
    else:
        entries = b"".join(_list_entry(command, timeouts) for command in task.unit.commands)
        data = struct.pack(">I", len(entries)) + entries
    task.reply(data, u32(cdb, 6))


# ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET (SPC-4 table 252).
_FUNCTIONS = 0x80 | 0x40 | 0x10 | 0x08 | 0x02


def report_task_management(task: Task) -> None:
    """REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, the short form, or the extended one with REPD (SPC-4 6.35)."""
    cdb = task.cdb
    length = 12 if cdb[2] & 0x80 else 0
    data = struct.pack(">BxxB", _FUNCTIONS, length) + bytes(length)
    task.reply(data, u32(cdb, 6))
