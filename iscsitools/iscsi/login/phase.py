"""From the first byte of a connection to its session, and the end of sessions (RFC 7143 6.3, 4.4).

:mod:`.login` decides what a Login Request is answered with; here that becomes PDUs, and a login that succeeds
becomes a session:

- TSIH 0, no session of this initiator port and target: a new session.
- TSIH 0, there is one: session reinstatement, the old one ends first (6.3.5).
- TSIH of a session, CID of a connection in it: connection reinstatement, the old connection ends first (6.3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.login.admission import SessionAdmission
from iscsitools.iscsi.login.brake import Brake
from iscsitools.iscsi.login.chap import Challenges
from iscsitools.iscsi.login.messages import LoginPending, LoginReply, LoginResult
from iscsitools.iscsi.login.parameters import NegotiationLimits, Parameters
from iscsitools.iscsi.login.policy import Directory, Portal
from iscsitools.iscsi.login.state_machine import LoginEngine
from iscsitools.iscsi.requests.discovery import TextResponder
from iscsitools.iscsi.session.session import Session
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.probes.firing import LOGIN_RESPONSE
from iscsitools.probes.table import Probe
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.wire.rfc7143 import ANSWER, LoginStatus, Opcode, Pdu

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection

LOGIN_WORK: Final = 96 << 10
"""What a Login Request takes of its connection's turn, beside what every PDU does (``turns.REQUEST_WORK``)."""


@dataclass(slots=True, eq=False)
class _Login:
    """A login under way: its engine, and of the request that is being answered the header and when it came."""

    engine: LoginEngine
    admission: SessionAdmission
    local: Portal
    bhs: bytes
    now: int


@dataclass(slots=True)
class LoginHooks:
    """What login asks of the server and tells it."""

    random_bytes: Callable[[int], bytes]
    look_up: Callable[[Connection, LoginPending], None]
    """Get a CHAP secret off the loop, then call ``Dispatcher.login_answered`` on it."""
    session_opened: Callable[[Session], None]
    session_closed: Callable[[Session], None]
    login_failed: Callable[[Connection, LoginReply], None]
    taken_over: Callable[[Session, str, str], None] = lambda _session, _before, _now: None
    """A session or connection was reinstated from another address: the session, its old address, its new one."""


class LoginPhase:
    """The logins under way, and the sessions they became."""

    def __init__(
        self, directory: Directory, limits: NegotiationLimits, table: SessionTable, window: int, hooks: LoginHooks,
        brake: Brake | None = None,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.table = table
        self._brake = brake or Brake(0)
        self._challenges = Challenges()
        self._limits = limits
        self._window = window
        self._hooks = hooks
        self._logins: dict[Connection, _Login] = {}

    def change(self, limits: NegotiationLimits, window: int, chap_failures: int) -> None:
        """Offer other limits to the logins that begin from now on; wrong secrets a minute (0: any) hold for all."""
        self._limits = limits
        self._window = window
        self._brake.per_minute = chap_failures

    # -- requests and responses

    def request(self, conn: Connection, pdu: Pdu) -> None:
        """Take a PDU of the login phase; only Login Requests belong there (6.3)."""
        if pdu.opcode != Opcode.LOGIN_REQUEST:
            self.refuse(conn, pdu, LoginStatus.INVALID_DURING_LOGIN, f"opcode {pdu.opcode:#04x} during login")
            return
        login = self._login_of(conn, pdu)
        if conn.refusal:
            self.refuse(conn, pdu, LoginStatus.OUT_OF_RESOURCES, conn.refusal)
            return
        conn.spend(LOGIN_WORK)
        reply = login.engine.on_request(pdu.bhs, bytes(pdu.data))
        if isinstance(reply, LoginPending):
            self._hooks.look_up(conn, reply)
        else:
            self._answer(conn, login, reply)

    def _login_of(self, conn: Connection, pdu: Pdu) -> _Login:
        """The login that a Login Request belongs to; the first one begins it."""
        login = self._logins.get(conn)
        if login is None:
            admission = SessionAdmission(self.table, self._brake, conn.info.remote, pdu.now)
            local = _portal(conn.info.local)
            engine = LoginEngine(
                self.directory,
                self._limits,
                admission,
                local,
                self._hooks.random_bytes,
                self._challenges,
                conn.address,
            )
            login = self._logins[conn] = _Login(engine, admission, local, pdu.bhs, pdu.now)
            conn.path.statsn = pdu.expstatsn
            conn.path.exp_cmdsn = pdu.cmdsn
            conn.path.window = self._window
        login.admission.now = login.now = pdu.now
        login.bhs = pdu.bhs
        return login

    def secret_found(self, conn: Connection, secret: bytes | None) -> None:
        """Go on with a login that waited for a CHAP secret."""
        login = self._logins.get(conn)
        if login is not None and not conn.close_reason:  # it may have broken the rules meanwhile
            self._answer(conn, login, login.engine.provide_secret(secret))
            conn.wake(conn)

    def refuse(self, conn: Connection, pdu: Pdu, status: LoginStatus, message: str) -> None:
        """Answer any PDU with a Login Response of ``status``, and close.

        What comes before a login and is no Login Request is not answered (RFC 7143 6.3).
        """
        login = self._login_of(conn, pdu) if pdu.opcode == Opcode.LOGIN_REQUEST else self._logins.get(conn)
        if login is not None:
            self._answer(conn, login, LoginReply(status=status, message=message))
        conn.close(message)

    def forget(self, conn: Connection) -> None:
        """The connection is gone."""
        login = self._logins.pop(conn, None)
        if login is not None:
            login.engine.end()

    def _answer(self, conn: Connection, login: _Login, reply: LoginReply) -> None:
        info, engine = conn.info, login.engine
        if engine.initiator != info.initiator or engine.target is not None:
            info.initiator = engine.initiator
            info.target = engine.target.name if engine.target is not None else ""
            info.generation += 1
        session = self._open(conn, login, reply.result) if reply.result is not None else None
        isid, itt = int.from_bytes(login.bhs[8:14], "big"), int.from_bytes(login.bhs[16:20], "big")
        header = ANSWER.pack(
            Opcode.LOGIN_RESPONSE, reply.flags, 0, 0, len(reply.data), isid << 16 | reply.tsih, itt, 0,
            conn.path.next_statsn(), conn.path.exp_cmdsn, conn.path.max_cmdsn, reply.status << 16, 0, 0,
        )  # fmt: skip
        if conn.probes.mask & LOGIN_RESPONSE:
            conn.probes.pdu(Probe.LOGIN_RESPONSE, info, 0, header)
        conn.out.put(header, reply.data)
        if session is not None and reply.result is not None:
            self._begin(conn, login, session, reply.result.parameters)
        elif reply.done:
            self._hooks.login_failed(conn, reply)
            conn.close(f"login failed: {reply.message}")

    # -- sessions

    def _open(self, conn: Connection, login: _Login, result: LoginResult) -> Session:
        """The session of a login that succeeded, old ones out of the way."""
        conn.cid = result.cid
        conn.info.tsih = f"0x{result.tsih:04x}"
        conn.info.generation += 1
        if not result.leading:
            session = self.table.by_tsih(result.tsih)
            assert session is not None  # the engine has just asked join()
            session.drop_held()
            old_connection = session.connections.pop(result.cid)
            session.move_to(conn.path)
            self._tell_of_another_address(session, old_connection, conn)
            self._replace(old_connection, "connection reinstated")
            return session
        if result.target is not None:
            old = self.table.find(result.initiator, result.isid, result.target.name, result.group)
            if old is not None:
                for before in old.connections.values():
                    self._tell_of_another_address(old, before, conn)
                self.drop_session(old, "session reinstated")
        session = Session(
            self.table.opened + 1, result.initiator, result.isid, result.tsih, result.target, result.parameters,
            login.now, conn.path, result.chap_user, result.initiator_alias,
            table=self.table,
        )  # fmt: skip
        if result.target is not None:
            address = conn.address
            seen = result.target.map_for(result.initiator, address)
            port = f"{result.initiator},i,0x{result.isid.hex()}"
            session.nexus = Nexus(result.initiator, port, result.group, {} if seen is None else seen.luns, address)
            result.target.device.attach(session.nexus)
        self.table.add(session)
        return session

    def _begin(self, conn: Connection, login: _Login, session: Session, own: Parameters) -> None:
        """Full feature phase begins for ``conn``; digests and segment lengths are its own (RFC 7143 13.1, 13.12)."""
        del self._logins[conn]
        opened = not session.full_feature
        session.connections[conn.cid] = conn
        session.full_feature = True
        conn.parameters = own
        conn.max_receive = own.max_recv_data_segment_length
        conn.max_send = own.initiator_max_recv_data_segment_length
        conn.responder = TextResponder(
            self.directory, session.initiator, session.target, login.local, own, conn.address
        )
        conn.start_full_feature(session, own.header_digest, own.data_digest)
        if opened:
            self._hooks.session_opened(session)

    def _tell_of_another_address(self, session: Session, old: Connection, new: Connection) -> None:
        if old.address != new.address:
            self._hooks.taken_over(session, old.info.remote, new.info.remote)

    @staticmethod
    def _replace(old: Connection, reason: str) -> None:
        if old.session is not None and old.session.nexus is not None:
            old.session.nexus.gather()  # what its data path has begun ends with the others
        for command in list(old.commands.values()):
            command.abort()
        old.session = None
        old.close(reason)
        old.out.abandon()  # it may have been given up just because nobody takes its output
        old.wake(old)

    def drop_session(self, session: Session, reason: str) -> None:
        """End a session at once: its connections are closed, its tasks aborted."""
        for conn in list(session.connections.values()):
            self._replace(conn, reason)
        session.connections.clear()
        self.end_session(session)

    def end_session(self, session: Session) -> None:
        """A session without connections: its nexus is lost (RFC 7143 6.3.5.1)."""
        if self.table.by_tsih(session.tsih) is not session:
            return
        self.table.remove(session)
        session.drop_held()
        if session.nexus is not None and session.device is not None:
            session.device.detach(session.nexus)
            session.nexus.gather = _nothing_more  # else it and the connection hold each other
        self._hooks.session_closed(session)


def _nothing_more() -> None:
    """What a lost nexus has begun and not handed over."""


@lru_cache(maxsize=64)
def _portal(local: str) -> Portal:
    """The address at which a connection came in: for many it is the same."""
    address, _, port = local.rpartition(":")
    return Portal(address.strip("[]"), int(port))
