"""The operation code table: every command that the device server knows (SPC-4 table 168, SBC-3 table 30).

A row's usage data is the CDB itself in hexadecimal, with the bits set that the command evaluates. The dispatcher
refuses a CDB with other bits, and REPORT SUPPORTED OPERATION CODES shows the same data. ``ignored`` bits are obsolete
ones that initiators still set, and GROUP NUMBER, which has a meaning only where groups are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iscsitools.scsi.copy import extended_copy, results, token_commands
from iscsitools.scsi.copy.manager import Copies
from iscsitools.scsi.core.command import Command, CommandSet, CommandTable, Flags, never_allowed, no_check
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.sbc import (
    cache,
    capacity,
    defects,
    format_unit,
    medium,
    provisioning,
    sanitize,
    verify,
    write_atomic,
)
from iscsitools.scsi.sbc import read_write as readwrite
from iscsitools.scsi.sbc.cache import CacheFlush
from iscsitools.scsi.sbc.format_unit import Formatting
from iscsitools.scsi.sbc.medium import Medium
from iscsitools.scsi.sbc.sanitize import Sanitation
from iscsitools.scsi.sbc.thresholds import Thresholds
from iscsitools.scsi.spc import diagnostics, inquiry, log_commands, no_unit, port_groups, reports, timestamp
from iscsitools.scsi.spc import mode_commands as modes
from iscsitools.scsi.spc import persistent_in as persistentin
from iscsitools.scsi.spc import persistent_out as persistentout
from iscsitools.scsi.spc import request_sense as status
from iscsitools.scsi.spc import reserve as reserving
from iscsitools.scsi.spc.diagnostics import DiagnosticBuffers, SelfTests
from iscsitools.scsi.spc.mode_pages import ModePages
from iscsitools.scsi.spc.timestamp import Timestamp

Check = Callable[[Task], None]
Run = Callable[[Task], Work | None]
Allowed = Callable[[bytes, bool], bool]

_ANY = Flags.IGNORES_ATTENTION | Flags.SHARED | Flags.BEFORE_RESERVE | Flags.ESSENTIAL | Flags.IN_ANY_STATE
_STANDBY = Flags.IN_STANDBY
_ASKS = Flags.READS | Flags.IN_STANDBY
_SHARED = Flags.SHARED
_READ = Flags.MEDIUM | Flags.READS
_WRITE = Flags.MEDIUM | Flags.WRITES

# Bits of the common block layouts that are ignored: FUA_NV (obsolete) in byte 1, and GROUP NUMBER.
_IGNORED = {
    6: b"",
    10: bytes.fromhex("00 02 00 00 00 00 1f 00 00 00"),
    12: bytes.fromhex("00 02 00 00 00 00 00 00 00 00 1f 00"),
    16: bytes.fromhex("00 02 00 00 00 00 00 00 00 00 00 00 00 00 1f 00"),
}
_LBA_AND_LENGTH = {
    6: "ff ff ff 00",
    10: "ff ff ff ff 00 ff ff 00",
    12: "ff ff ff ff ff ff ff ff 00 00",
    16: "ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
}
_LENGTH_BY_GROUP = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}


def _row(
    name: str, usage: str, run: Run, flags: Flags = Flags.NONE, check: Check = no_check, action: int | None = None,
    allowed: Allowed = never_allowed, locate: Check = no_check,
) -> Command:  # fmt: skip
    data = bytes.fromhex(usage)
    return Command(name, data[0], action, data, run, flags, check, locate=locate, allowed=allowed)


def _block(name: str, opcode: int, byte1: int, run: Run, flags: Flags, check: Check) -> Command:
    """A command of the common block layout; ``byte1`` are the bits of byte 1 that it evaluates."""
    length = _LENGTH_BY_GROUP[opcode >> 5]
    usage = bytes([opcode, byte1]) + bytes.fromhex(_LBA_AND_LENGTH[length])
    if length == 6:
        usage = bytes([opcode, 0x1F, 0xFF, 0xFF, 0xFF, 0])
    return Command(name, opcode, None, usage, run, flags, check, _IGNORED[length])


_DPO_FUA = 0x18

_PRIMARY = (
    _row("TEST UNIT READY", "00 00 00 00 00 00", medium.test_unit_ready, Flags.MEDIUM | _SHARED | Flags.ESSENTIAL),
    _row("REQUEST SENSE", "03 01 00 00 ff 00", status.request_sense, _ANY),
    _row("INQUIRY", "12 01 ff ff ff 00", inquiry.inquiry, _ANY, inquiry.check_inquiry),
    _row("RESERVE(6)", "16 00 00 00 00 00", reserving.reserve, _SHARED, reserving.check_reserve),
    _row(
        "RELEASE(6)", "17 00 00 00 00 00", reserving.release,
        _SHARED | Flags.BEFORE_RESERVE, reserving.check_reserve,
    ),
    _row("RESERVE(10)", "56 00 00 00 00 00 00 ff ff 00", reserving.reserve, _SHARED, reserving.check_reserve),
    _row(
        "RELEASE(10)", "57 00 00 00 00 00 00 ff ff 00", reserving.release,
        _SHARED | Flags.BEFORE_RESERVE, reserving.check_reserve,
    ),
    _row(
        "START STOP UNIT", "1b 01 00 0f f7 00", medium.start_stop_unit, Flags.NONE, medium.check_start_stop,
        allowed=reserving.allows_start,
    ),
    _row(
        "PREVENT ALLOW MEDIUM REMOVAL", "1e 00 00 00 03 00", medium.prevent_allow, allowed=reserving.allows_removal
    ),
    _row("REPORT LUNS", "a0 00 ff 00 00 00 ff ff ff ff 00 00", reports.report_luns, _ANY, reports.check_report_luns),
    _row(
        "REPORT SUPPORTED OPERATION CODES", "a3 1f 87 ff ff ff ff ff ff ff 00 00",
        reports.report_operation_codes, Flags.READS, reports.check_operation_codes, 0x0C,
    ),
    _row(
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "a3 1f 80 00 00 00 ff ff ff ff 00 00",
        reports.report_task_management, Flags.READS, action=0x0D,
    ),
)  # fmt: skip

_MANAGEMENT = (
    _row(
        "SEND DIAGNOSTIC", "1d f7 00 ff ff 00", diagnostics.send_diagnostic, _STANDBY,
        diagnostics.check_send_diagnostic,
    ),
    _row(
        "RECEIVE DIAGNOSTIC RESULTS", "1c 01 ff ff ff 00", diagnostics.receive_diagnostic, _ASKS,
        diagnostics.check_receive_diagnostic,
    ),
    _row(
        "WRITE BUFFER", "3b 1f ff ff ff ff ff ff ff 00", diagnostics.write_buffer, _STANDBY,
        diagnostics.check_write_buffer,
    ),
    _row(
        "READ BUFFER", "3c 1f ff ff ff ff ff ff ff 00", diagnostics.read_buffer, _ASKS,
        diagnostics.check_read_buffer,
    ),
    _row(
        "LOG SELECT", "4c 03 ff ff 00 00 00 ff ff 00", log_commands.log_select, _STANDBY,
        log_commands.check_log_select,
    ),
    _row(
        "LOG SENSE", "4d 01 ff ff 00 ff ff ff ff 00", log_commands.log_sense, _SHARED | _STANDBY,
        log_commands.check_log_sense,
    ),
    _row(
        "REPORT TIMESTAMP", "a3 1f 00 00 00 00 ff ff ff ff 00 00", timestamp.report_timestamp, _SHARED, action=0x0F
    ),
    _row(
        "SET TIMESTAMP", "a4 1f 00 00 00 00 ff ff ff ff 00 00", timestamp.set_timestamp,
        check=timestamp.check_set_timestamp, action=0x0F,
    ),
    _row(
        "REPORT TARGET PORT GROUPS", "a3 ff 00 00 00 00 ff ff ff ff 00 00", port_groups.report,
        _SHARED | Flags.IN_ANY_STATE, port_groups.check_report, 0x0A,
    ),
    _row(
        "SET TARGET PORT GROUPS", "a4 1f 00 00 00 00 ff ff ff ff 00 00", port_groups.set_states,
        Flags.IN_ANY_STATE, port_groups.check_set, 0x0A,
    ),
    _row(
        "FORMAT UNIT", "04 3f 00 00 00 00", format_unit.format_unit,
        Flags.WRITES | Flags.EXCLUSIVE, format_unit.check_format,
    ),
)  # fmt: skip

_CAPACITY = (
    _row(
        "READ CAPACITY(10)", "25 00 ff ff ff ff 00 00 01 00",
        capacity.read_capacity_10, Flags.MEDIUM | _SHARED, capacity.check_read_capacity_10,
    ),
    _row(
        "READ CAPACITY(16)", "9e 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        capacity.read_capacity_16, Flags.MEDIUM | _SHARED, action=0x10,
    ),
)  # fmt: skip

_READ_WRITE = (
    _block("READ(6)", 0x08, 0, readwrite.read, _READ, readwrite.check_read),
    _block("READ(10)", 0x28, _DPO_FUA, readwrite.read, _READ, readwrite.check_read),
    _block("READ(12)", 0xA8, _DPO_FUA, readwrite.read, _READ, readwrite.check_read),
    _block("READ(16)", 0x88, _DPO_FUA, readwrite.read, _READ, readwrite.check_read),
    _block("WRITE(6)", 0x0A, 0, readwrite.write, _WRITE, readwrite.check_write),
    _block("WRITE(10)", 0x2A, _DPO_FUA, readwrite.write, _WRITE, readwrite.check_write),
    _block("WRITE(12)", 0xAA, _DPO_FUA, readwrite.write, _WRITE, readwrite.check_write),
    _block("WRITE(16)", 0x8A, _DPO_FUA, readwrite.write, _WRITE, readwrite.check_write),
    _block("PRE-FETCH(10)", 0x34, 0x02, readwrite.prefetch, _READ, readwrite.check_range),
    _block("PRE-FETCH(16)", 0x90, 0x02, readwrite.prefetch, _READ, readwrite.check_range),
    _block("SYNCHRONIZE CACHE(10)", 0x35, 0x06, cache.synchronize_cache, Flags.MEDIUM, readwrite.check_range),
    _block("SYNCHRONIZE CACHE(16)", 0x91, 0x06, cache.synchronize_cache, Flags.MEDIUM, readwrite.check_range),
)

_MODES = (
    _row(
        "MODE SELECT(6)", "15 11 00 00 ff 00", modes.mode_select, Flags.EXCLUSIVE | _STANDBY,
        modes.check_mode_select,
    ),
    _row("MODE SENSE(6)", "1a 08 ff ff ff 00", modes.mode_sense, _ASKS, modes.check_mode_sense),
    _row(
        "MODE SELECT(10)", "55 11 00 00 00 00 00 ff ff 00", modes.mode_select, Flags.EXCLUSIVE | _STANDBY,
        modes.check_mode_select,
    ),
    _row(
        "MODE SENSE(10)",
        "5a 18 ff ff 00 00 00 ff ff 00",
        modes.mode_sense,
        _ASKS,
        modes.check_mode_sense,
    ),
)  # fmt: skip

_DPO_BYTCHK = 0x16
_VERIFY = (
    _block("VERIFY(10)", 0x2F, _DPO_BYTCHK, verify.verify, _READ, verify.check_verify),
    _block("VERIFY(12)", 0xAF, _DPO_BYTCHK, verify.verify, _READ, verify.check_verify),
    _block("VERIFY(16)", 0x8F, _DPO_BYTCHK, verify.verify, _READ, verify.check_verify),
    _block("WRITE AND VERIFY(10)", 0x2E, _DPO_BYTCHK, verify.write_and_verify, _WRITE, verify.check_write_and_verify),
    _block("WRITE AND VERIFY(12)", 0xAE, _DPO_BYTCHK, verify.write_and_verify, _WRITE, verify.check_write_and_verify),
    _block("WRITE AND VERIFY(16)", 0x8E, _DPO_BYTCHK, verify.write_and_verify, _WRITE, verify.check_write_and_verify),
    _block("ORWRITE(16)", 0x8B, _DPO_FUA, verify.orwrite, _WRITE, readwrite.check_write),
    _row(
        "COMPARE AND WRITE", "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 00 00",
        verify.compare_and_write, _WRITE, verify.check_compare_and_write,
    ),
)  # fmt: skip


def _sanitize(name: str, action: int, length: str, run: Run, check: Check) -> Command:
    return _row(f"SANITIZE, {name}", f"48 bf 00 00 00 00 00 {length} 00", run, Flags.WRITES, check, action)


_SANITIZE = (
    _sanitize("OVERWRITE", 1, "ff ff", sanitize.overwrite, sanitize.check_overwrite),
    _sanitize("BLOCK ERASE", 2, "00 00", sanitize.block_erase, sanitize.check_erase),
    _sanitize("EXIT FAILURE MODE", 0x1F, "00 00", sanitize.exit_failure_mode, sanitize.check_exit),
)

_DEFECTS = (
    _row("READ DEFECT DATA(10)", "37 00 1f 00 00 00 00 ff ff 00", defects.read_defect_data_10, _READ),
    _row("READ DEFECT DATA(12)", "b7 1f ff ff ff ff ff ff ff ff 00 00", defects.read_defect_data_12, _READ),
)

_WRITE_SAME = (
    _block("WRITE SAME(10)", 0x41, 0x08, provisioning.write_same, _WRITE, provisioning.check_write_same),
    _block("WRITE SAME(16)", 0x93, 0x09, provisioning.write_same, _WRITE, provisioning.check_write_same),
)
_THIN = (
    _row(
        "UNMAP", "42 00 00 00 00 00 00 ff ff 00", provisioning.unmap, _WRITE, provisioning.check_unmap,
        locate=provisioning.locate_unmap,
    ),
    _row(
        "GET LBA STATUS", "9e 1f ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
        provisioning.lba_status, _READ, provisioning.check_lba_status, 0x12,
    ),
)  # fmt: skip


_COPY = (
    _row(
        "EXTENDED COPY(LID1)", "83 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00", extended_copy.extended_copy,
        Flags.MEDIUM, extended_copy.check_extended_copy, 0x00,
    ),
    _row(
        "POPULATE TOKEN", "83 1f 00 00 00 00 ff ff ff ff ff ff ff ff 1f 00", token_commands.populate_token, _READ,
        token_commands.check_populate_token, 0x10,
    ),
    _row(
        "WRITE USING TOKEN", "83 1f 00 00 00 00 ff ff ff ff ff ff ff ff 1f 00", token_commands.write_using_token,
        _WRITE, token_commands.check_write_using_token, 0x11,
    ),
    _row(
        "COPY OPERATION ABORT", "83 1f ff ff ff ff 00 00 00 00 00 00 00 00 00 00", results.copy_operation_abort,
        _SHARED, action=0x1C,
    ),
    _row(
        "RECEIVE COPY STATUS(LID1)", "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00", results.copy_status, _ASKS,
        action=0x00,
    ),
    _row(
        "RECEIVE COPY OPERATING PARAMETERS", "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        results.operating_parameters, _ASKS, action=0x03,
    ),
    _row(
        "RECEIVE COPY FAILURE DETAILS(LID1)", "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        results.failed_segment_details, _ASKS, action=0x04,
    ),
    _row(
        "RECEIVE COPY STATUS(LID4)", "84 1f ff ff ff ff 00 00 00 00 ff ff ff ff 00 00", results.copy_status_4, _ASKS,
        action=0x05,
    ),
    _row(
        "RECEIVE ROD TOKEN INFORMATION", "84 1f ff ff ff ff 00 00 00 00 ff ff ff ff 00 00",
        results.rod_token_information, _ASKS, action=0x07,
    ),
)  # fmt: skip


def _in(name: str, action: int, run: Run) -> Command:
    usage = "5e 1f 00 00 00 00 00 ff ff 00"
    return _row(
        f"PERSISTENT RESERVE IN, {name}",
        usage,
        run,
        _SHARED | Flags.ESSENTIAL | _STANDBY,
        persistentin.check_persistent,
        action,
    )


def _out(name: str, action: int, run: Callable[[Task], None], check: Check) -> Command:
    usage = "5f 1f ff 00 00 ff ff ff ff 00"
    return _row(
        f"PERSISTENT RESERVE OUT, {name}",
        usage,
        persistentout.kept(run),
        _SHARED | Flags.ESSENTIAL | _STANDBY,
        check,
        action,
    )


_PERSISTENT = (
    _in("READ KEYS", 0, persistentin.read_keys),
    _in("READ RESERVATION", 1, persistentin.read_reservation),
    _in("REPORT CAPABILITIES", 2, persistentin.report_capabilities),
    _in("READ FULL STATUS", 3, persistentin.read_full_status),
    _out("REGISTER", 0, persistentout.register, persistentout.check_register),
    _out("RESERVE", 1, persistentout.reserve, persistentout.check_typed),
    _out("RELEASE", 2, persistentout.release, persistentout.check_typed),
    _out("CLEAR", 3, persistentout.clear, persistentout.check_basic),
    _out("PREEMPT", 4, persistentout.preempt, persistentout.check_typed),
    _out("PREEMPT AND ABORT", 5, persistentout.preempt_and_abort, persistentout.check_typed),
    _out("REGISTER AND IGNORE EXISTING KEY", 6, persistentout.register_and_ignore, persistentout.check_basic),
    _out("REGISTER AND MOVE", 7, persistentout.register_and_move, persistentout.check_move),
)

_ALWAYS = (
    _PRIMARY
    + _MANAGEMENT
    + _CAPACITY
    + _READ_WRITE
    + _MODES
    + _VERIFY
    + _DEFECTS
    + _WRITE_SAME
    + _SANITIZE
    + _COPY
    + _PERSISTENT
)
_PARTS = (
    ModePages, Medium, Timestamp, DiagnosticBuffers, SelfTests, Sanitation, Copies, Thresholds, Formatting, CacheFlush,
)  # fmt: skip
_ATOMIC = (
    _row(
        "WRITE ATOMIC(16)", "9c 18 ff ff ff ff ff ff ff ff 00 00 ff ff 1f 00", write_atomic.write_atomic, _WRITE,
        write_atomic.check_write_atomic,
    ),
)  # fmt: skip
_ENCRYPTED = (_sanitize("CRYPTOGRAPHIC ERASE", 3, "00 00", sanitize.crypto_erase, sanitize.check_erase),)
DISK: Final = CommandSet(
    CommandTable(_ALWAYS), CommandTable(_ALWAYS + _THIN), _PARTS, no_unit.answer, _ATOMIC, _ENCRYPTED
)  # fmt: skip
"""What makes a disk of a logical unit."""
