"""The operation code table: every command that the device server knows (SPC-4 table 168, SBC-3 table 30).

A row's usage data is the CDB itself in hexadecimal, with the bits set that the command evaluates. The dispatcher
refuses a CDB with other bits, and REPORT SUPPORTED OPERATION CODES shows the same data. ``ignored`` bits are obsolete
ones that initiators still set, and GROUP NUMBER, which has a meaning only where groups are kept.
"""

from __future__ import annotations

from typing import Final

from iscsitools.scsi.copy.manager import Copies
from iscsitools.scsi.core.command import CommandSet, CommandTable, Flags
from iscsitools.scsi.core.command_rows import row
from iscsitools.scsi.sbc import commands as sbc
from iscsitools.scsi.sbc import medium
from iscsitools.scsi.sbc.cache import CacheFlush
from iscsitools.scsi.sbc.format_unit import Formatting
from iscsitools.scsi.sbc.medium import Medium
from iscsitools.scsi.sbc.sanitize import Sanitation
from iscsitools.scsi.sbc.thresholds import Thresholds
from iscsitools.scsi.spc import commands as spc
from iscsitools.scsi.spc import no_unit, reserve
from iscsitools.scsi.spc.diagnostics import DiagnosticBuffers, SelfTests
from iscsitools.scsi.spc.mode_pages import ModePages
from iscsitools.scsi.spc.reservation_changes import ReservationChanges
from iscsitools.scsi.spc.timestamp import Timestamp

_MEDIUM = (
    row(
        "START STOP UNIT", "1b 01 00 0f f7 00", medium.start_stop_unit, Flags.NONE, medium.check_start_stop,
        allowed=reserve.allows_start,
    ),
    row(
        "PREVENT ALLOW MEDIUM REMOVAL", "1e 00 00 00 03 00", medium.prevent_allow, allowed=reserve.allows_removal
    ),
)  # fmt: skip
"""Commands of SBC-3 and SPC-4 of which the exceptions from a reservation are SPC-4's."""
_PARTS = (
    ModePages, Medium, Timestamp, DiagnosticBuffers, SelfTests, Sanitation, Copies, Thresholds, Formatting, CacheFlush,
    ReservationChanges,
)  # fmt: skip

_ALWAYS = spc.COMMANDS + sbc.COMMANDS + _MEDIUM
DISK: Final = CommandSet(
    CommandTable(_ALWAYS), CommandTable(_ALWAYS + sbc.THIN), _PARTS, no_unit.answer, sbc.ATOMIC, sbc.ENCRYPTED
)  # fmt: skip
"""What makes a disk of a logical unit."""
