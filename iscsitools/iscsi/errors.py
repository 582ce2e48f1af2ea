"""The engine's errors: each knows what it says on the wire; its message is for people and logs only."""

from __future__ import annotations

from enum import IntEnum


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


class IscsiError(Exception):
    """Base of the engine's errors. The message can be logged: it is one line of at most 300 printable characters."""

    def __init__(self, message: str) -> None:
        # Messages quote what an initiator sent.
        super().__init__("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message[:300])[:300])


class LoginError(IscsiError):
    """The login ends with ``status``, then the connection is closed (RFC 7143 11.13.5)."""

    def __init__(self, status: LoginStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class RejectError(IscsiError):
    """A PDU is answered with a Reject of ``reason``; the connection goes on (RFC 7143 11.17)."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProtocolError(IscsiError):
    """No answer makes sense: the connection has to be dropped (RFC 7143 7.7, 7.13)."""


class TextError(IscsiError):
    """Text that breaks RFC 7143 6.1. In login it becomes a LoginError, in the full feature phase a RejectError."""
