"""The layouts of RFC 7143 chapter 11: opcodes, flag bits, and one precompiled struct for each PDU that we send.

A basic header segment (BHS) is always 48 bytes, big-endian. Received PDUs are read in place with :data:`COMMAND`;
the slow path reads single fields through :class:`Pdu`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

BHS_LENGTH: Final = 48
DIGEST_LENGTH: Final = 4
RESERVED_TAG: Final = 0xFFFFFFFF
SERIAL_MASK: Final = 0xFFFFFFFF
IMMEDIATE: Final = 0x40


class Opcode(IntEnum):
    """Opcodes (RFC 7143 11.2.1.2), without the immediate bit."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class Flag(IntEnum):
    """Bits of byte 1; which of them a PDU has, its section of chapter 11 says."""

    FINAL = 0x80
    TRANSIT = 0x80
    CONTINUE = 0x40
    READ = 0x40
    WRITE = 0x20
    ACKNOWLEDGE = 0x40
    OVERFLOW = 0x04
    UNDERFLOW = 0x02
    STATUS = 0x01


class Stage(IntEnum):
    """CSG and NSG: the stages of login (RFC 7143 11.12.3)."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


class LogoutReason(IntEnum):
    """Reason codes of a Logout Request (RFC 7143 11.14.1)."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_FOR_RECOVERY = 2


class LogoutResponse(IntEnum):
    """Responses to a logout (RFC 7143 11.15.1)."""

    SUCCESS = 0
    CID_NOT_FOUND = 1
    RECOVERY_NOT_SUPPORTED = 2
    CLEANUP_FAILED = 3


class AsyncEvent(IntEnum):
    """Events of an Asynchronous Message (RFC 7143 11.9.1)."""

    SCSI_EVENT = 0
    LOGOUT_REQUEST = 1
    CONNECTION_DROP = 2
    SESSION_DROP = 3
    NEGOTIATION_REQUEST = 4


class LoginStatus(IntEnum):
    """Status-Class << 8 | Status-Detail of a Login Response (RFC 7143 11.13.5)."""

    SUCCESS = 0x0000
    TARGET_MOVED_TEMPORARILY = 0x0101
    TARGET_MOVED_PERMANENTLY = 0x0102
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    TARGET_REMOVED = 0x0204
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    CANNOT_INCLUDE_IN_SESSION = 0x0208
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    TARGET_ERROR = 0x0300
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class RejectReason(IntEnum):
    """Reason of a Reject PDU (RFC 7143 11.17.1)."""

    DATA_DIGEST_ERROR = 0x02
    SNACK_REJECT = 0x03
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    TOO_MANY_IMMEDIATE_COMMANDS = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_PDU_FIELD = 0x09
    LONG_OPERATION_REJECT = 0x0A
    WAITING_FOR_LOGOUT = 0x0C


# A SCSI Command with a CDB of 10 bytes (RFC 7143 11.3, SBC-3 5.11): its form; ITT; EDTL; CmdSN; CDB bytes 0 and 1;
# LBA; GROUP NUMBER, TRANSFER LENGTH and CONTROL in one. The form is what commands that are served alike have in common:
# opcode, flags, TotalAHSLength, DataSegmentLength and LUN. Few and small fields: each one is an object.
COMMAND: Final = struct.Struct(">16sIII4xHII6x")
# Of a CDB of 16 bytes, from byte 2 of it on: LBA, TRANSFER LENGTH, GROUP NUMBER, CONTROL (SBC-3 5.13).
LONG_CDB: Final = struct.Struct(">QIBB")
FORM: Final = struct.Struct(">IIQ")
"""A form in its parts: opcode, flags and reserved bytes; TotalAHSLength and DataSegmentLength; LUN."""
# The answer to one of them: its form, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN; the rest is 0.
FAST_ANSWER: Final = struct.Struct(">16sIIIII12x")
# What answers of one form and length have in common: the first 4 bytes, DataSegmentLength; the rest of 16 bytes is 0.
ANSWER_FORM: Final = struct.Struct(">II8x")
READ_COMMAND: Final = 0x01C00000
WRITE_COMMAND: Final = 0x01A00000
"""First four bytes of a SCSI Command that reads or writes: F set, and no task attribute."""
ATTRIBUTE: Final = 0x70000
"""The task attribute in them (11.3.1)."""
HEAD_OF_QUEUE: Final = 0x30000
"""The last attribute in them of commands that wait for nothing while the task set is empty."""
ATTRIBUTE_BITS: Final = 7
ORDERED: Final = 2
"""In byte 1: the task attribute, and the one that waits for all earlier tasks."""
READ_DONE: Final = 0x25810000
"""First four bytes of a Data-In that ends a command with status GOOD."""
WRITE_DONE: Final = ANSWER_FORM.pack(0x21800000, 0)
"""The form of a SCSI Response that says GOOD."""
# opcode, flags, response, status, lengths, reserved or LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN, then by PDU:
# Data-In (11.7): DataSN, Buffer Offset, Residual Count. SCSI Response (11.4): ExpDataSN, Bidirectional Read
# Residual Count, Residual Count. R2T (11.8): R2TSN, Buffer Offset, Desired Data Transfer Length.
ANSWER: Final = struct.Struct(">BBBBIQIIIIIIII")

_word: Final[Callable[[bytes, int], tuple[int]]] = struct.Struct(">I").unpack_from

assert COMMAND.size == ANSWER.size == FAST_ANSWER.size == BHS_LENGTH


def padding(length: int) -> int:
    """Bytes that fill a segment of ``length`` bytes up to a multiple of four (RFC 7143 11.1)."""
    return -length & 3


def serial_less(a: int, b: int) -> bool:
    """Whether ``a`` comes before ``b`` in serial number arithmetic of 32 bits (RFC 1982, RFC 7143 4.2.2.1)."""
    return a != b and ((b - a) & SERIAL_MASK) < 0x80000000


class Fault(IntEnum):
    """What framing found wrong with a PDU that it received."""

    NONE = 0
    TOO_LONG = 1
    """Its data segment is longer than MaxRecvDataSegmentLength, and was not received (RFC 7143 7.7)."""
    DATA_DIGEST = 2
    """Its data digest is wrong, and its data was left out (RFC 7143 7.8)."""
    NO_MEMORY = 3
    """There was no memory for its data, which was left out."""


@dataclass(slots=True, eq=False)
class Pdu:
    """A received PDU off the fast path. ``data`` may lie in a receive buffer: valid only until the handler returns.

    ``now``: when it came, monotonic nanoseconds. ``fired``: which of its probes have fired (``probes.firing``).
    """

    bhs: bytes
    ahs: bytes
    data: memoryview
    now: int
    fired: int = 0
    fault: Fault = Fault.NONE

    @property
    def opcode(self) -> int:
        """The opcode without the immediate bit."""
        return self.bhs[0] & 0x3F

    @property
    def immediate(self) -> bool:
        """The I bit."""
        return bool(self.bhs[0] & IMMEDIATE)

    @property
    def flags(self) -> int:
        """Byte 1."""
        return self.bhs[1]

    @property
    def lun(self) -> int:
        """The LUN field, all 8 bytes of it."""
        return int.from_bytes(self.bhs[8:16], "big")

    @property
    def itt(self) -> int:
        """The Initiator Task Tag."""
        return _word(self.bhs, 16)[0]

    @property
    def ttt(self) -> int:
        """The Target Transfer Tag, or the Referenced Task Tag."""
        return _word(self.bhs, 20)[0]

    @property
    def cmdsn(self) -> int:
        """CmdSN."""
        return _word(self.bhs, 24)[0]

    @property
    def expstatsn(self) -> int:
        """ExpStatSN."""
        return _word(self.bhs, 28)[0]

    def word(self, offset: int) -> int:
        """The 32-bit number at ``offset`` of the BHS."""
        return _word(self.bhs, offset)[0]


def split_ahs(ahs: bytes) -> list[tuple[int, bytes]]:
    """Additional header segments as (type, content) pairs (RFC 7143 11.2.2). Raises ValueError when malformed."""
    found: list[tuple[int, bytes]] = []
    while ahs:
        length = int.from_bytes(ahs[:2], "big")
        end = 3 + length
        if length == 0 or end > len(ahs):
            raise ValueError(f"an additional header segment of {length} bytes in {len(ahs)}")
        found.append((ahs[2], ahs[3:end]))
        ahs = ahs[end + padding(end) :]
    return found
