"""What goes into and comes out of the login engine: the request's header, the reply, the result."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from iscsitools.iscsi.errors import LoginError, ProtocolError, TextError
from iscsitools.iscsi.login.parameters import Parameters
from iscsitools.iscsi.login.policy import SecretLookup, TargetNode
from iscsitools.wire.rfc7143 import LoginStatus

_BHS: Final = struct.Struct(">BBBB4x6sHIH26x")
_IMMEDIATE_LOGIN: Final = 0x43


class LoginRequest(NamedTuple):
    """The header of a Login Request (RFC 7143 11.12), without the fields of the command window."""

    transit: bool
    more: bool
    csg: int
    nsg: int
    version_max: int
    version_min: int
    isid: bytes
    tsih: int
    itt: int
    cid: int

    @classmethod
    def parse(cls, bhs: bytes) -> LoginRequest:
        """Read the 48 bytes of the header; ProtocolError when they are no immediate Login Request."""
        if len(bhs) != _BHS.size or bhs[0] & 0x7F != _IMMEDIATE_LOGIN:
            raise ProtocolError("not an immediate Login Request")
        _, flags, version_max, version_min, isid, tsih, itt, cid = _BHS.unpack(bhs)
        csg, nsg = flags >> 2 & 3, flags & 3
        return cls(bool(flags & 0x80), bool(flags & 0x40), csg, nsg, version_max, version_min, isid, tsih, itt, cid)


@dataclass(slots=True)
class LoginResult:
    """A login that reached the full feature phase. ``target`` is None in a discovery session."""

    initiator: str
    initiator_alias: str
    isid: bytes
    tsih: int
    cid: int
    target: TargetNode | None
    parameters: Parameters
    chap_user: str
    leading: bool
    """It began a session (TSIH 0 in its request); otherwise it joins the session of ``tsih``."""
    group: int
    """The portal group at which the initiator came in."""

    @property
    def discovery(self) -> bool:
        """The session is a discovery session."""
        return self.target is None


@dataclass(slots=True)
class LoginReply:
    """The fields of a Login Response (RFC 7143 11.13) that login decides.

    Version-max and Version-active are 0 always. ``status`` other than SUCCESS: the connection is closed after it, and
    ``message`` says why, for the log. ``result`` is there when the response ends the login well.
    """

    transit: bool = False
    more: bool = False
    csg: int = 0
    nsg: int = 0
    tsih: int = 0
    status: LoginStatus = LoginStatus.SUCCESS
    data: bytes = b""
    result: LoginResult | None = None
    message: str = ""
    user: str = ""
    """The CHAP name that was given, for the log; proved only when there is a ``result``."""

    @classmethod
    def failed(cls, request: LoginRequest, error: TextError | LoginError) -> LoginReply:
        """The one place where an error becomes its reply."""
        status = error.status if isinstance(error, LoginError) else LoginStatus.INITIATOR_ERROR
        return cls(csg=request.csg, tsih=request.tsih, status=status, message=str(error))

    @property
    def done(self) -> bool:
        """The login has ended, well or not."""
        return self.result is not None or self.status is not LoginStatus.SUCCESS

    @property
    def flags(self) -> int:
        """Byte 1 of the Login Response."""
        return self.transit << 7 | self.more << 6 | self.csg << 2 | self.nsg


@dataclass(slots=True)
class LoginPending:
    """A secret is wanted: give the result of :meth:`look_up` to ``LoginEngine.provide_secret``, None if it raised."""

    initiator: str
    user: str
    secret_for: SecretLookup

    def look_up(self) -> bytes | None:
        """Ask for the secret. May block, and may raise anything, also TypeError for an answer that is no bytes."""
        secret = self.secret_for(self.initiator, self.user)
        if secret is not None and not isinstance(secret, bytes):
            raise TypeError(f"a secret has to be bytes, not {type(secret).__name__}")
        return secret


class Admission(Protocol):
    """What login asks of the server about one connection's way in. Each method raises LoginError to refuse it."""

    def join(self, initiator: str, isid: bytes, target: TargetNode | None, tsih: int, cid: int, group: int) -> None:
        """Return if a connection may be added to, or reinstated in, the session of ``tsih`` (not 0).

        Changes nothing. Raises SESSION_DOES_NOT_EXIST, TOO_MANY_CONNECTIONS, CANNOT_INCLUDE_IN_SESSION.
        """

    def owner_of(self, tsih: int, user: str) -> None:
        """Return if the session of ``tsih`` belongs to this CHAP name ("": none); else AUTHORIZATION_FAILURE."""

    def new_tsih(self, initiator: str, isid: bytes, target: TargetNode | None, user: str, group: int) -> int:
        """A TSIH for a new session, not 0 and not in use; OUT_OF_RESOURCES when there is none.

        The session may take the place of an old one of the same initiator port and target (RFC 7143 6.3.5), if that
        belongs to the same CHAP name: else AUTHORIZATION_FAILURE.
        """

    def may_try(self, user: str) -> None:
        """Return if a CHAP response of this name may be looked at now; else SERVICE_UNAVAILABLE."""

    def judged(self, user: str, right: bool) -> None:
        """A CHAP response of this name was right, or wrong."""
