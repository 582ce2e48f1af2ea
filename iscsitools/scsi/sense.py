"""Sense keys, additional sense codes, and fixed-format sense data (SPC-4 4.5)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple


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
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


class Asc(IntEnum):
    """Additional sense code and qualifier as one number: ASC << 8 | ASCQ (SPC-4 annex F.2)."""

    NO_ADDITIONAL_SENSE = 0x0000
    NOT_READY_CAUSE_NOT_REPORTABLE = 0x0400
    WRITE_ERROR = 0x0C00
    UNEXPECTED_UNSOLICITED_DATA = 0x0C0C
    INCORRECT_AMOUNT_OF_DATA = 0x0C0D
    UNRECOVERED_READ_ERROR = 0x1100
    PARAMETER_LIST_LENGTH_ERROR = 0x1A00
    MISCOMPARE_DURING_VERIFY = 0x1D00
    INVALID_COMMAND_OPERATION_CODE = 0x2000
    LBA_OUT_OF_RANGE = 0x2100
    INVALID_FIELD_IN_CDB = 0x2400
    LOGICAL_UNIT_NOT_SUPPORTED = 0x2500
    INVALID_FIELD_IN_PARAMETER_LIST = 0x2600
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = 0x2604
    WRITE_PROTECTED = 0x2700
    SOFTWARE_WRITE_PROTECTED = 0x2702
    SPACE_ALLOCATION_FAILED = 0x2707
    MEDIUM_MAY_HAVE_CHANGED = 0x2800
    POWER_ON_OR_RESET = 0x2900
    BUS_DEVICE_RESET = 0x2903
    MODE_PARAMETERS_CHANGED = 0x2A01
    RESERVATIONS_PREEMPTED = 0x2A03
    RESERVATIONS_RELEASED = 0x2A04
    REGISTRATIONS_PREEMPTED = 0x2A05
    CAPACITY_DATA_HAS_CHANGED = 0x2A09
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = 0x2F00
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x3900
    MEDIUM_NOT_PRESENT = 0x3A00
    REPORTED_LUNS_DATA_HAS_CHANGED = 0x3F0E
    INTERNAL_TARGET_FAILURE = 0x4400
    PROTOCOL_SERVICE_CRC_ERROR = 0x4705
    DATA_PHASE_ERROR = 0x4B00
    MEDIUM_REMOVAL_PREVENTED = 0x5302
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x5504


class FieldPointer(NamedTuple):
    """Where a bad field is, for the sense-key specific bytes (SPC-4 4.5.2.4.2). ``bit`` is None: a whole byte."""

    byte: int
    bit: int | None = None
    in_cdb: bool = True

    def encode(self) -> bytes:
        """The three sense-key specific bytes, SKSV set."""
        flags = 0x80 | (0x40 if self.in_cdb else 0)
        if self.bit is not None:
            flags |= 0x08 | self.bit
        return struct.pack(">BH", flags, self.byte)


SENSE_LENGTH = 18


def fixed_sense(key: SenseKey, asc: int, information: int | None = None, pointer: FieldPointer | None = None) -> bytes:
    """Current sense data in the fixed format (SPC-4 4.5.3), 18 bytes.

    ``information`` that has no room in 32 bits leaves VALID 0, as SPC-4 4.5.3 wants.
    """
    valid = information is not None and information <= 0xFFFFFFFF
    return struct.pack(
        ">BxBIB4xHx3s",
        0x70 | (0x80 if valid else 0),
        key,
        information or 0 if valid else 0,
        SENSE_LENGTH - 8,
        asc,
        pointer.encode() if pointer is not None else bytes(3),
    )
