"""The engine's errors: each knows what it says on the wire; its message is for people and logs only."""

from __future__ import annotations

from iscsitools.wire.rfc7143 import LoginStatus, RejectReason


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
