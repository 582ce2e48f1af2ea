"""The rows of the commands of SPC-4 (SPC-4 table 168)."""

from __future__ import annotations

from typing import Final

from iscsitools.scsi.copy import extended_copy, results, token_commands
from iscsitools.scsi.core.command import Command, Flags
from iscsitools.scsi.core.command_rows import ANY, ASKS, READ, SHARED, STANDBY, WRITE, Check, Run, row
from iscsitools.scsi.spc import (
    diagnostics,
    inquiry,
    log_commands,
    mode_commands,
    persistent_in,
    persistent_out,
    port_groups,
    reports,
    request_sense,
    reserve,
    timestamp,
)
from iscsitools.scsi.spc.reservation_changes import Action, changing

_PRIMARY = (
    row("REQUEST SENSE", "03 01 00 00 ff 00", request_sense.request_sense, ANY),
    row("INQUIRY", "12 01 ff ff ff 00", inquiry.inquiry, ANY, inquiry.check_inquiry),
    row("RESERVE(6)", "16 00 00 00 00 00", reserve.reserve, SHARED, reserve.check_reserve),
    row(
        "RELEASE(6)", "17 00 00 00 00 00", reserve.release,
        SHARED | Flags.BEFORE_RESERVE, reserve.check_reserve,
    ),
    row("RESERVE(10)", "56 00 00 00 00 00 00 ff ff 00", reserve.reserve, SHARED, reserve.check_reserve),
    row(
        "RELEASE(10)", "57 00 00 00 00 00 00 ff ff 00", reserve.release,
        SHARED | Flags.BEFORE_RESERVE, reserve.check_reserve,
    ),
    row("REPORT LUNS", "a0 00 ff 00 00 00 ff ff ff ff 00 00", reports.report_luns, ANY, reports.check_report_luns),
    row(
        "REPORT SUPPORTED OPERATION CODES", "a3 1f 87 ff ff ff ff ff ff ff 00 00",
        reports.report_operation_codes, Flags.READS, reports.check_operation_codes, 0x0C,
    ),
    row(
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "a3 1f 80 00 00 00 ff ff ff ff 00 00",
        reports.report_task_management, Flags.READS, action=0x0D,
    ),
)  # fmt: skip

_MANAGEMENT = (
    row(
        "SEND DIAGNOSTIC", "1d f7 00 ff ff 00", diagnostics.send_diagnostic, STANDBY,
        diagnostics.check_send_diagnostic,
    ),
    row(
        "RECEIVE DIAGNOSTIC RESULTS", "1c 01 ff ff ff 00", diagnostics.receive_diagnostic, ASKS,
        diagnostics.check_receive_diagnostic,
    ),
    row(
        "WRITE BUFFER", "3b 1f ff ff ff ff ff ff ff 00", diagnostics.write_buffer, STANDBY,
        diagnostics.check_write_buffer,
    ),
    row(
        "READ BUFFER", "3c 1f ff ff ff ff ff ff ff 00", diagnostics.read_buffer, ASKS,
        diagnostics.check_read_buffer,
    ),
    row(
        "LOG SELECT", "4c 03 ff ff 00 00 00 ff ff 00", log_commands.log_select, STANDBY,
        log_commands.check_log_select,
    ),
    row(
        "LOG SENSE", "4d 01 ff ff 00 ff ff ff ff 00", log_commands.log_sense, SHARED | STANDBY,
        log_commands.check_log_sense,
    ),
    row(
        "REPORT TIMESTAMP", "a3 1f 00 00 00 00 ff ff ff ff 00 00", timestamp.report_timestamp, SHARED, action=0x0F
    ),
    row(
        "SET TIMESTAMP", "a4 1f 00 00 00 00 ff ff ff ff 00 00", timestamp.set_timestamp,
        check=timestamp.check_set_timestamp, action=0x0F,
    ),
    row(
        "REPORT TARGET PORT GROUPS", "a3 ff 00 00 00 00 ff ff ff ff 00 00", port_groups.report,
        SHARED | Flags.IN_ANY_STATE, port_groups.check_report, 0x0A,
    ),
    row(
        "SET TARGET PORT GROUPS", "a4 1f 00 00 00 00 ff ff ff ff 00 00", port_groups.set_states,
        Flags.IN_ANY_STATE, port_groups.check_set, 0x0A,
    ),
)  # fmt: skip

_MODES = (
    row(
        "MODE SELECT(6)", "15 11 00 00 ff 00", mode_commands.mode_select, Flags.EXCLUSIVE | STANDBY,
        mode_commands.check_mode_select,
    ),
    row("MODE SENSE(6)", "1a 08 ff ff ff 00", mode_commands.mode_sense, ASKS, mode_commands.check_mode_sense),
    row(
        "MODE SELECT(10)", "55 11 00 00 00 00 00 ff ff 00", mode_commands.mode_select, Flags.EXCLUSIVE | STANDBY,
        mode_commands.check_mode_select,
    ),
    row(
        "MODE SENSE(10)",
        "5a 18 ff ff 00 00 00 ff ff 00",
        mode_commands.mode_sense,
        ASKS,
        mode_commands.check_mode_sense,
    ),
)  # fmt: skip

_COPY = (
    row(
        "EXTENDED COPY(LID1)", "83 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00", extended_copy.extended_copy,
        Flags.MEDIUM, extended_copy.check_extended_copy, 0x00,
    ),
    row(
        "POPULATE TOKEN", "83 1f 00 00 00 00 ff ff ff ff ff ff ff ff 1f 00", token_commands.populate_token, READ,
        token_commands.check_populate_token, 0x10,
    ),
    row(
        "WRITE USING TOKEN", "83 1f 00 00 00 00 ff ff ff ff ff ff ff ff 1f 00", token_commands.write_using_token,
        WRITE, token_commands.check_write_using_token, 0x11,
    ),
    row(
        "COPY OPERATION ABORT", "83 1f ff ff ff ff 00 00 00 00 00 00 00 00 00 00", results.copy_operation_abort,
        SHARED, action=0x1C,
    ),
    row(
        "RECEIVE COPY STATUS(LID1)", "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00", results.copy_status, ASKS,
        action=0x00,
    ),
    row(
        "RECEIVE COPY OPERATING PARAMETERS", "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        results.operating_parameters, ASKS, action=0x03,
    ),
    row(
        "RECEIVE COPY FAILURE DETAILS(LID1)", "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        results.failed_segment_details, ASKS, action=0x04,
    ),
    row(
        "RECEIVE COPY STATUS(LID4)", "84 1f ff ff ff ff 00 00 00 00 ff ff ff ff 00 00", results.copy_status_4, ASKS,
        action=0x05,
    ),
    row(
        "RECEIVE ROD TOKEN INFORMATION", "84 1f ff ff ff ff 00 00 00 00 ff ff ff ff 00 00",
        results.rod_token_information, ASKS, action=0x07,
    ),
)  # fmt: skip


def _in(name: str, action: int, run: Run) -> Command:
    usage = "5e 1f 00 00 00 00 00 ff ff 00"
    return row(
        f"PERSISTENT RESERVE IN, {name}",
        usage,
        run,
        SHARED | Flags.ESSENTIAL | STANDBY,
        persistent_in.check_persistent,
        action,
    )


def _out(name: str, action: int, run: Action, check: Check) -> Command:
    usage = "5f 1f ff 00 00 ff ff ff ff 00"
    return row(
        f"PERSISTENT RESERVE OUT, {name}",
        usage,
        changing(run),
        SHARED | Flags.ESSENTIAL | STANDBY,
        check,
        action,
    )


_PERSISTENT = (
    _in("READ KEYS", 0, persistent_in.read_keys),
    _in("READ RESERVATION", 1, persistent_in.read_reservation),
    _in("REPORT CAPABILITIES", 2, persistent_in.report_capabilities),
    _in("READ FULL STATUS", 3, persistent_in.read_full_status),
    _out("REGISTER", 0, persistent_out.register, persistent_out.check_register),
    _out("RESERVE", 1, persistent_out.reserve, persistent_out.check_typed),
    _out("RELEASE", 2, persistent_out.release, persistent_out.check_typed),
    _out("CLEAR", 3, persistent_out.clear, persistent_out.check_basic),
    _out("PREEMPT", 4, persistent_out.preempt, persistent_out.check_typed),
    _out("PREEMPT AND ABORT", 5, persistent_out.preempt_and_abort, persistent_out.check_typed),
    _out("REGISTER AND IGNORE EXISTING KEY", 6, persistent_out.register_and_ignore, persistent_out.check_basic),
    _out("REGISTER AND MOVE", 7, persistent_out.register_and_move, persistent_out.check_move),
)

COMMANDS: Final = _PRIMARY + _MANAGEMENT + _MODES + _COPY + _PERSISTENT
