"""What an event's basic header segment says beyond the probes' own fields (RFC 7143 chapter 11).

Byte places of the BHS by PDU. An xfer event has no BHS: none of these is for it.
"""

from __future__ import annotations

from typing import Final

from iscsitools.trace.events import Event

WRITE_FLAG: Final = 0x20
READ_FLAG: Final = 0x40
DATA_STATUS: Final = 0x01
"""The S bit of Data-In (RFC 7143 11.7.3): this PDU ends the command."""

MANAGEMENT: Final = {
    1: "ABORT TASK",
    2: "ABORT TASK SET",
    3: "CLEAR ACA",
    4: "CLEAR TASK SET",
    5: "LOGICAL UNIT RESET",
    6: "TARGET WARM RESET",
    7: "TARGET COLD RESET",
    8: "TASK REASSIGN",
}
MANAGEMENT_RESPONSE: Final = {
    0: "complete",
    1: "no such task",
    2: "no such LUN",
    3: "task still allegiant",
    4: "no reassignment",
    5: "not supported",
    6: "not authorized",
    255: "rejected",
}
LOGOUT_REASON: Final = {0: "close session", 1: "close connection", 2: "for recovery"}
LOGOUT_RESPONSE: Final = {0: "closed", 1: "CID not found", 2: "recovery not supported", 3: "cleanup failed"}
ASYNC_EVENT: Final = {
    0: "SCSI event",
    1: "logout requested",
    2: "connection dropped",
    3: "all connections dropped",
    4: "negotiation requested",
    5: "task terminated",
    255: "vendor specific",
}
REJECT_REASON: Final = {
    0x02: "data digest error",
    0x03: "SNACK reject",
    0x04: "protocol error",
    0x05: "command not supported",
    0x06: "too many immediate commands",
    0x07: "task in progress",
    0x08: "invalid data ack",
    0x09: "invalid PDU field",
    0x0A: "long operation reject",
    0x0C: "waiting for logout",
}
SNACK_TYPE: Final = {0: "Data/R2T", 1: "status", 2: "DataACK", 3: "R-Data"}
STAGE: Final = ("security", "operational", "stage 2", "full feature")


def operation(flags: int) -> str:
    """``write`` by the W flag of a SCSI Command, ``read`` by its R flag alone, "" by neither (RFC 7143 11.3.1)."""
    if flags & WRITE_FLAG:
        return "write"
    return "read" if flags & READ_FLAG else ""


def response(event: Event) -> int:
    """Byte 2: the Response of a SCSI, task management or logout response, the Reason of a Reject."""
    return event.bhs[2]


def scsi_status(event: Event) -> int:
    """Byte 3: the SCSI status of a SCSI Response, or of a Data-In with the S bit (RFC 7143 11.4.2, 11.7.3)."""
    return event.bhs[3]


def residual(event: Event) -> int:
    """The Residual Count of a SCSI Response or Data-In: positive for an underflow, negative for an overflow."""
    count = int.from_bytes(event.bhs[44:48], "big")
    if event.bhs[1] & 0x04:
        return -count
    return count if event.bhs[1] & 0x02 else 0


def function(event: Event) -> int:
    """The function of a Task Management Function Request (RFC 7143 11.5.1)."""
    return event.bhs[1] & 0x7F


def login_status(event: Event) -> int:
    """Status-Class << 8 | Status-Detail of a Login Response (RFC 7143 11.13.5)."""
    return event.bhs[36] << 8 | event.bhs[37]


def stages(event: Event) -> str:
    """The stages of a login PDU: ``security>operational`` with the T bit, else the current one alone."""
    flags = event.bhs[1]
    current = STAGE[flags >> 2 & 3]
    return f"{current}>{STAGE[flags & 3]}" if flags & 0x80 else current


def is_final_login(event: Event) -> bool:
    """Whether a Login Response brings the connection into the full feature phase."""
    return event.bhs[1] & 0x83 == 0x83 and login_status(event) == 0
