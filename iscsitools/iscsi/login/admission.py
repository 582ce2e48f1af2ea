"""Whether a login may become a session, beside its proof: whose a session is, how many there are, the brake."""

from __future__ import annotations

from iscsitools.iscsi.errors import LoginError
from iscsitools.iscsi.login.brake import Brake
from iscsitools.iscsi.login.policy import TargetNode
from iscsitools.iscsi.session.session import Session
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.wire.rfc7143 import LoginStatus


class SessionAdmission:
    """Answers one connection's login (:class:`.messages.Admission`). ``remote``: ``ADDRESS:PORT`` of the initiator.

    ``now`` is the time of the request that is being served, in nanoseconds of the monotonic clock.
    """

    __slots__ = ("_brake", "_remote", "_table", "now")

    def __init__(self, table: SessionTable, brake: Brake, remote: str, now: int) -> None:
        self.now = now
        self._table = table
        self._brake = brake
        self._remote = remote

    def join(self, initiator: str, isid: bytes, target: TargetNode | None, tsih: int, cid: int, group: int) -> None:
        """Whether a connection may join the session of ``tsih``: only in the place of one with its CID, for now."""
        session = self._table.by_tsih(tsih)
        if session is None or (session.initiator, session.isid, session.target) != (initiator, isid, target):
            raise LoginError(LoginStatus.SESSION_DOES_NOT_EXIST, f"no session {tsih:#06x} of {initiator}")
        if session.nexus is not None and session.nexus.target_port != group:
            raise LoginError(LoginStatus.SESSION_DOES_NOT_EXIST, f"session {tsih:#06x} is of another portal group")
        if cid not in session.connections:
            raise LoginError(LoginStatus.TOO_MANY_CONNECTIONS, f"session {tsih:#06x} has its one connection")

    def owner_of(self, tsih: int, user: str) -> None:
        """A session belongs to the CHAP name that began it; nobody else takes a connection's place in it."""
        session = self._table.by_tsih(tsih)
        if session is not None:
            _same_user(session, user)

    def new_tsih(self, initiator: str, isid: bytes, target: TargetNode | None, user: str, group: int) -> int:
        """A TSIH for a new session; one that takes an old one's place finds room in a full table too."""
        old = self._table.find(initiator, isid, target.name, group) if target is not None else None
        if old is not None:
            _same_user(old, user)
        tsih = self._table.allocate(initiator, replaces=old is not None)
        if tsih is None:
            raise LoginError(LoginStatus.OUT_OF_RESOURCES, f"as many sessions as allowed, of all or of {initiator}")
        return tsih

    def may_try(self, user: str) -> None:
        """Refuse a login whose address, or CHAP name, was wrong too often of late."""
        if self._brake.holds(self._remote, user, self.now):
            raise LoginError(LoginStatus.SERVICE_UNAVAILABLE, f"too many wrong secrets from here or for {user}")

    def judged(self, user: str, right: bool) -> None:
        """The secret was right or wrong."""
        if right:
            self._brake.right(self._remote, user)
        else:
            self._brake.wrong(self._remote, user, self.now)


def _same_user(session: Session, user: str) -> None:
    if session.chap_user != user:
        raise LoginError(
            LoginStatus.AUTHORIZATION_FAILURE,
            f"session {session.tsih:#06x} of {session.initiator} was begun by another CHAP name",
        )
