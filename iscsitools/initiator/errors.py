"""What can go wrong at an initiator. The text of each is one line; what the system says stays an OSError."""

from __future__ import annotations

from iscsitools.initiator.pdu import Pdu
from iscsitools.initiator.result import Result
from iscsitools.wire.rfc7143 import LoginStatus


class InitiatorError(Exception):
    """The base of all errors of this package."""


class ProtocolError(InitiatorError):
    """The target did what RFC 7143 forbids, or rejected what was sent."""


class DigestError(ProtocolError):
    """A digest of the target's is wrong (RFC 7143 7.8)."""


class ConnectionClosedError(InitiatorError):
    """The target closed the connection."""


class LoginError(InitiatorError):
    """The target refused the login; ``status`` is (class, detail), ``pdu`` its Login Response (RFC 7143 11.13.5)."""

    def __init__(self, pdu: Pdu) -> None:
        self.pdu = pdu
        self.status = (pdu.status_class, pdu.status_detail)
        number = self.status[0] << 8 | self.status[1]
        name = LoginStatus(number).name.lower().replace("_", " ") if number in set(LoginStatus) else "unknown"
        super().__init__(f"login status {number:04x}: {name}")


class CommandError(InitiatorError, OSError):
    """A command did not end with status GOOD; ``result`` says how it ended."""

    def __init__(self, result: Result) -> None:
        self.result = result
        super().__init__(str(result))
