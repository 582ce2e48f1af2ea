"""Sense keys and additional sense codes: those that we send, and all as text (SPC-4 4.5, table 48, annex D)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class SenseKey(IntEnum):
    """Sense keys (SPC-4 4.5.6)."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


class Asc(IntEnum):
    """Additional sense code and qualifier as one number: ASC << 8 | ASCQ (SPC-4 annex F.2)."""

    NO_ADDITIONAL_SENSE = 0x0000
    OPERATION_IN_PROGRESS = 0x0016
    NOT_READY_CAUSE_NOT_REPORTABLE = 0x0400
    FORMAT_IN_PROGRESS = 0x0404
    PORT_TRANSITIONING = 0x040A
    PORT_IN_STANDBY = 0x040B
    PORT_UNAVAILABLE = 0x040C
    SANITIZE_IN_PROGRESS = 0x041B
    WRITE_ERROR = 0x0C00
    UNEXPECTED_UNSOLICITED_DATA = 0x0C0C
    INCORRECT_AMOUNT_OF_DATA = 0x0C0D
    THIRD_PARTY_DEVICE_FAILURE = 0x0D01
    COPY_TARGET_NOT_REACHABLE = 0x0D02
    UNREACHABLE_COPY_TARGET = 0x0804
    UNRECOVERED_READ_ERROR = 0x1100
    PARAMETER_LIST_LENGTH_ERROR = 0x1A00
    MISCOMPARE_DURING_VERIFY = 0x1D00
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT = 0x0E03
    INVALID_COMMAND_OPERATION_CODE = 0x2000
    LBA_OUT_OF_RANGE = 0x2100
    INVALID_FIELD_IN_CDB = 0x2400
    LOGICAL_UNIT_NOT_SUPPORTED = 0x2500
    INVALID_TOKEN_LENGTH = 0x230A
    UNSUPPORTED_TOKEN_TYPE = 0x2301
    REMOTE_TOKEN_USAGE_NOT_SUPPORTED = 0x2302
    TOKEN_UNKNOWN = 0x2304
    TOKEN_CORRUPT = 0x2305
    TOKEN_REVOKED = 0x2306
    TOKEN_EXPIRED = 0x2307
    INVALID_FIELD_IN_PARAMETER_LIST = 0x2600
    TOO_MANY_TARGET_DESCRIPTORS = 0x2606
    UNSUPPORTED_TARGET_DESCRIPTOR = 0x2607
    TOO_MANY_SEGMENT_DESCRIPTORS = 0x2608
    UNSUPPORTED_SEGMENT_DESCRIPTOR = 0x2609
    INLINE_DATA_LENGTH_EXCEEDED = 0x260B
    COPY_SEGMENT_GRANULARITY_VIOLATION = 0x260D
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = 0x2604
    WRITE_PROTECTED = 0x2700
    SOFTWARE_WRITE_PROTECTED = 0x2702
    SPACE_ALLOCATION_FAILED = 0x2707
    MEDIUM_MAY_HAVE_CHANGED = 0x2800
    POWER_ON_OR_RESET = 0x2900
    BUS_DEVICE_RESET = 0x2903
    I_T_NEXUS_LOSS = 0x2907
    MODE_PARAMETERS_CHANGED = 0x2A01
    LOG_PARAMETERS_CHANGED = 0x2A02
    RESERVATIONS_PREEMPTED = 0x2A03
    RESERVATIONS_RELEASED = 0x2A04
    REGISTRATIONS_PREEMPTED = 0x2A05
    ACCESS_STATE_CHANGED = 0x2A06
    CAPACITY_DATA_HAS_CHANGED = 0x2A09
    TIMESTAMP_CHANGED = 0x2A10
    COMMAND_SEQUENCE_ERROR = 0x2C00
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = 0x2F00
    MEDIUM_FORMAT_CORRUPTED = 0x3100
    SANITIZE_FAILED = 0x3103
    SOFT_THRESHOLD_REACHED = 0x3807
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x3900
    MEDIUM_NOT_PRESENT = 0x3A00
    FAILED_SELF_TEST = 0x3E03
    REPORTED_LUNS_DATA_HAS_CHANGED = 0x3F0E
    INTERNAL_TARGET_FAILURE = 0x4400
    PROTOCOL_SERVICE_CRC_ERROR = 0x4705
    INVALID_MESSAGE = 0x4900
    DATA_PHASE_ERROR = 0x4B00
    INITIATOR_RESPONSE_TIMEOUT = 0x4B06
    MEDIUM_REMOVAL_PREVENTED = 0x5302
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x5504
    INSUFFICIENT_TOKEN_RESOURCES = 0x550D


SENSE_KEYS: Final = (
    "NO SENSE",
    "RECOVERED ERROR",
    "NOT READY",
    "MEDIUM ERROR",
    "HARDWARE ERROR",
    "ILLEGAL REQUEST",
    "UNIT ATTENTION",
    "DATA PROTECT",
    "BLANK CHECK",
    "VENDOR SPECIFIC",
    "COPY ABORTED",
    "ABORTED COMMAND",
    "RESERVED",
    "VOLUME OVERFLOW",
    "MISCOMPARE",
    "COMPLETED",
)

# ASC << 8 | ASCQ, for what a direct-access block device reports.
ADDITIONAL: Final[dict[int, str]] = {
    0x0000: "no additional sense information",
    0x0002: "end of partition/medium detected",
    0x0006: "I/O process terminated",
    0x0016: "operation in progress",
    0x001E: "conflicting SA creation request",
    0x0200: "no seek complete",
    0x0300: "peripheral device write fault",
    0x0400: "logical unit not ready, cause not reportable",
    0x0401: "logical unit is in process of becoming ready",
    0x0402: "logical unit not ready, initializing command required",
    0x0403: "logical unit not ready, manual intervention required",
    0x0404: "logical unit not ready, format in progress",
    0x0407: "logical unit not ready, operation in progress",
    0x0409: "logical unit not ready, self-test in progress",
    0x040A: "logical unit not accessible, asymmetric access state transition",
    0x040B: "logical unit not accessible, target port in standby state",
    0x040C: "logical unit not accessible, target port in unavailable state",
    0x041B: "logical unit not ready, sanitize in progress",
    0x0500: "logical unit does not respond to selection",
    0x0800: "logical unit communication failure",
    0x0A00: "error log overflow",
    0x0B00: "warning",
    0x0C00: "write error",
    0x0C02: "write error, auto reallocation failed",
    0x0C0C: "write error, unexpected unsolicited data",
    0x0C0D: "write error, not enough unsolicited data",
    0x0D00: "error detected by third party temporary initiator",
    0x0D01: "third party device failure",
    0x0D02: "copy target device not reachable",
    0x0E03: "invalid field in command information unit",
    0x1000: "ID CRC or ECC error",
    0x1001: "logical block guard check failed",
    0x1002: "logical block application tag check failed",
    0x1003: "logical block reference tag check failed",
    0x1100: "unrecovered read error",
    0x1101: "read retries exhausted",
    0x1104: "unrecovered read error, auto reallocate failed",
    0x1114: "read error, LBA marked bad by application client",
    0x1400: "recorded entity not found",
    0x1500: "random positioning error",
    0x1700: "recovered data with no error correction applied",
    0x1A00: "parameter list length error",
    0x1B00: "synchronous data transfer error",
    0x1C00: "defect list not found",
    0x1D00: "miscompare during verify operation",
    0x2000: "invalid command operation code",
    0x2001: "access denied, initiator pending-enrolled",
    0x2100: "logical block address out of range",
    0x2200: "illegal function",
    0x2300: "invalid token operation, cause not reportable",
    0x2304: "invalid token operation, token unknown",
    0x2305: "invalid token operation, token corrupt",
    0x2400: "invalid field in CDB",
    0x2401: "CDB decryption error",
    0x2500: "logical unit not supported",
    0x2600: "invalid field in parameter list",
    0x2601: "parameter not supported",
    0x2602: "parameter value invalid",
    0x2604: "invalid release of persistent reservation",
    0x2606: "too many target descriptors",
    0x2607: "unsupported target descriptor type code",
    0x2608: "too many segment descriptors",
    0x2609: "unsupported segment descriptor type code",
    0x260A: "unexpected inexact segment",
    0x260B: "inline data length exceeded",
    0x260C: "invalid operation for copy source or destination",
    0x260D: "copy segment granularity violation",
    0x2700: "write protected",
    0x2701: "hardware write protected",
    0x2702: "logical unit software write protected",
    0x2707: "space allocation failed write protect",
    0x2800: "not ready to ready change, medium may have changed",
    0x2900: "power on, reset, or bus device reset occurred",
    0x2901: "power on occurred",
    0x2902: "SCSI bus reset occurred",
    0x2903: "bus device reset function occurred",
    0x2904: "device internal reset",
    0x2907: "I_T nexus loss occurred",
    0x2A00: "parameters changed",
    0x2A01: "mode parameters changed",
    0x2A03: "reservations preempted",
    0x2A04: "reservations released",
    0x2A05: "registrations preempted",
    0x2A06: "asymmetric access state changed",
    0x2A09: "capacity data has changed",
    0x2C00: "command sequence error",
    0x2C09: "previous reservation conflict status",
    0x2D00: "overwrite error on update in place",
    0x2E00: "insufficient time for operation",
    0x2F00: "commands cleared by another initiator",
    0x3000: "incompatible medium installed",
    0x3100: "medium format corrupted",
    0x3101: "format command failed",
    0x3103: "sanitize command failed",
    0x3200: "no defect spare location available",
    0x3500: "enclosure services failure",
    0x3700: "rounded parameter",
    0x3807: "thin provisioning soft threshold reached",
    0x3900: "saving parameters not supported",
    0x3A00: "medium not present",
    0x3B00: "sequential positioning error",
    0x3D00: "invalid bits in IDENTIFY message",
    0x3E00: "logical unit has not self-configured yet",
    0x3E01: "logical unit failure",
    0x3E02: "timeout on logical unit",
    0x3F00: "target operating conditions have changed",
    0x3F01: "microcode has been changed",
    0x3F03: "INQUIRY data has changed",
    0x3F0A: "volume set deleted",
    0x3F0E: "REPORTED LUNS data has changed",
    0x4300: "message error",
    0x4400: "internal target failure",
    0x4500: "select or reselect failure",
    0x4700: "SCSI parity error",
    0x4703: "information unit iuCRC error detected",
    0x4800: "initiator detected error message received",
    0x4900: "invalid message error",
    0x4A00: "command phase error",
    0x4B00: "data phase error",
    0x4B06: "initiator response timeout",
    0x4B04: "NAK received",
    0x4E00: "overlapped commands attempted",
    0x5300: "media load or eject failed",
    0x5302: "medium removal prevented",
    0x5500: "system resource failure",
    0x5503: "insufficient resources",
    0x5504: "insufficient registration resources",
    0x5508: "maximum number of supplemental decryption keys exceeded",
    0x550C: "insufficient resources to create ROD",
    0x550D: "insufficient resources to create ROD token",
    0x5900: "updated block read",
    0x5D00: "failure prediction threshold exceeded",
    0x6700: "configuration failure",
    0x6F00: "copy protection key exchange failure",
}


def sense_codes(sense: int) -> str:
    """``key/asc/ascq`` in hexadecimal, of key << 16 | ASC << 8 | ASCQ."""
    return f"{sense >> 16 & 0xF:x}/{sense >> 8 & 0xFF:02x}/{sense & 0xFF:02x}"


def sense_text(sense: int) -> str:
    """Sense data for people: ``ILLEGAL REQUEST, invalid field in CDB (5/24/00)``."""
    key = SENSE_KEYS[sense >> 16 & 0xF]
    more = ADDITIONAL.get(sense & 0xFFFF)
    return f"{key}, {more} ({sense_codes(sense)})" if more else f"{key} ({sense_codes(sense)})"
