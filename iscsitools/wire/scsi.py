"""Statuses, task attributes and task management: the numbers that SAM-5 names and RFC 7143 carries."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Status(IntEnum):
    """SCSI status codes (SAM-5 5.3)."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class Attribute(IntEnum):
    """Task attributes, numbered as in the iSCSI SCSI Command PDU (RFC 7143 11.3.1); UNTAGGED counts as SIMPLE."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4


class ManagementFunction(IntEnum):
    """Task management functions, numbered as in RFC 7143 11.5.1."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8


class ManagementResponse(IntEnum):
    """Answers to task management functions, numbered as in RFC 7143 11.6.1."""

    COMPLETE = 0
    NO_SUCH_TASK = 1
    NO_SUCH_LUN = 2
    STILL_ALLEGIANT = 3
    NO_REASSIGNMENT = 4
    NOT_SUPPORTED = 5
    AUTHORIZATION_FAILED = 6
    REJECTED = 255


STATUS: Final[dict[int, str]] = {
    0x00: "GOOD",
    0x02: "CHECK CONDITION",
    0x04: "CONDITION MET",
    0x08: "BUSY",
    0x18: "RESERVATION CONFLICT",
    0x28: "TASK SET FULL",
    0x30: "ACA ACTIVE",
    0x40: "TASK ABORTED",
}


def status_name(status: int) -> str:
    """The name of a SCSI status code (SAM-5 5.3)."""
    return STATUS.get(status, f"STATUS {status:02X}h")
