"""Which PDU goes where: the full feature phase off the fast path (RFC 7143 4.2.2, 4.2.3, 7.3, chapter 11).

The rules: a receive probe fires when the PDU is complete, before anything else. Immediate requests are served at once
and do not move ExpCmdSN. Others are served in the order of CmdSN: one that comes early is held, one outside the window
is ignored without an answer. Data-Out and SNACK carry no CmdSN; unsolicited data of a held command is held with it. A
PDU that breaks the rules gets a Reject with the header it came with; one that makes the stream unreadable ends the
connection. A discovery session takes Text Requests, and a logout that closes the session, and no other request (4.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.errors import ProtocolError, RejectError
from iscsitools.iscsi.requests import data_out, nop_logout, task_management, text
from iscsitools.iscsi.requests.adoption import adopt, adopt_all, adopt_before, adopt_flight
from iscsitools.iscsi.requests.scsi_command import cdb_of, start
from iscsitools.probes.firing import REJECT_SEND
from iscsitools.probes.lun import probe_lun, unit_number
from iscsitools.probes.table import Probe
from iscsitools.scsi.core.options import MAX_TRANSFER
from iscsitools.wire.rfc7143 import (
    ANSWER,
    RESERVED_TAG,
    Fault,
    Flag,
    LoginStatus,
    LogoutReason,
    Opcode,
    Pdu,
    RejectReason,
)

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.login.phase import LoginPhase
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand
    from iscsitools.iscsi.session.session import Session

_RECEIVE_PROBES: Final = {
    Opcode.NOP_OUT: Probe.NOP_RECEIVE,
    Opcode.SCSI_COMMAND: Probe.SCSI_COMMAND,
    Opcode.TASK_REQUEST: Probe.TASK_COMMAND,
    Opcode.LOGIN_REQUEST: Probe.LOGIN_COMMAND,
    Opcode.TEXT_REQUEST: Probe.TEXT_COMMAND,
    Opcode.DATA_OUT: Probe.DATA_RECEIVE,
    Opcode.LOGOUT_REQUEST: Probe.LOGOUT_COMMAND,
    Opcode.SNACK_REQUEST: Probe.SNACK_RECEIVE,
}
_WITH_LUN: Final = frozenset({Opcode.NOP_OUT, Opcode.SCSI_COMMAND, Opcode.TASK_REQUEST, Opcode.SNACK_REQUEST})
_NUMBERED: Final = frozenset(
    {Opcode.NOP_OUT, Opcode.SCSI_COMMAND, Opcode.TASK_REQUEST, Opcode.TEXT_REQUEST, Opcode.LOGOUT_REQUEST}
)
_SERVE: Final[dict[int, Callable[[Connection, Session, Pdu], None]]] = {
    Opcode.NOP_OUT: nop_logout.nop_out,
    Opcode.SCSI_COMMAND: start,
    Opcode.TASK_REQUEST: task_management.task_management,
    Opcode.TEXT_REQUEST: text.text,
    Opcode.LOGOUT_REQUEST: nop_logout.logout,
}


class Dispatcher:
    """Takes the PDUs that the data path does not answer."""

    def __init__(self, login: LoginPhase) -> None:
        self._login = login

    def take(self, conn: Connection, pdu: Pdu) -> None:
        """Serve one whole PDU, or say what is wrong with it."""
        session, opcode = conn.session, pdu.opcode
        if opcode == Opcode.DATA_OUT and conn.path.transfers:
            adopt(conn, pdu.itt)  # the data path left it: something of it is not as it should be
        if pdu.fault is Fault.TOO_LONG:
            self._oversized(conn, pdu)
            return
        if pdu.fault is Fault.DATA_DIGEST:
            self._data_digest_failed(conn, pdu)
            return
        if session is None and opcode == Opcode.LOGIN_REQUEST:
            conn.info.isid, conn.info.tsih = pdu.bhs[8:14].hex(), f"0x{pdu.word(12) & 0xFFFF:04x}"
            conn.info.generation += 1
        if conn.probes.mask and not pdu.fired:
            self._fire(conn, pdu)
        try:
            if session is None or not session.full_feature:
                self._login.request(conn, pdu)
            else:
                self._full_feature(conn, session, pdu)
        except RejectError as error:
            reject(conn, pdu, error.reason)
        except ProtocolError as error:
            conn.close(str(error))

    def _full_feature(self, conn: Connection, session: Session, pdu: Pdu) -> None:
        opcode = pdu.opcode
        if opcode == Opcode.DATA_OUT:
            self._data_out(conn, session, pdu)
        elif opcode == Opcode.SNACK_REQUEST:
            raise RejectError(RejectReason.SNACK_REJECT, "a SNACK at error recovery level 0")
        elif opcode == Opcode.LOGIN_REQUEST:
            raise RejectError(RejectReason.PROTOCOL_ERROR, "a Login Request in the full feature phase")
        elif opcode not in _NUMBERED:
            raise RejectError(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode {opcode:#04x}")
        elif opcode == Opcode.NOP_OUT and pdu.itt == RESERVED_TAG and not pdu.immediate:
            # Nothing answers it, so its CmdSN could not be acknowledged (11.18.1): ExpCmdSN stays.
            raise RejectError(RejectReason.PROTOCOL_ERROR, "a NOP-Out that wants no answer and is not immediate")
        elif pdu.immediate:
            _serve(conn, session, pdu)
            self._serve_held(session)  # an ABORT TASK may have closed the gap before them
        else:
            self._in_order(conn, session, pdu)

    @staticmethod
    def _data_out(conn: Connection, session: Session, pdu: Pdu) -> None:
        if session.held and pdu.ttt == RESERVED_TAG and pdu.itt not in conn.commands:
            if not session.hold_data(conn, pdu):
                raise ProtocolError("Data-Out without end for commands that came before their turn")
        else:
            data_out.data_out(conn, pdu)

    def _in_order(self, conn: Connection, session: Session, pdu: Pdu) -> None:
        place = session.place(pdu.cmdsn)
        if place > 0:
            session.hold(conn, pdu)
        if place != 0:
            return
        conn.path.advance()
        self._serve(conn, session, pdu)
        self._serve_held(session)

    def _serve_held(self, session: Session) -> None:
        while (held := session.take_held()) is not None:
            conn = held.conn
            if conn.close_reason:  # what came before it may have been a logout
                continue
            self._serve(conn, session, held.pdu)
            for pdu in held.data:
                data_out.data_out(conn, pdu)

    @staticmethod
    def _serve(conn: Connection, session: Session, pdu: Pdu) -> None:
        """Serve a request in its turn; one that is rejected keeps nobody behind it."""
        try:
            _serve(conn, session, pdu)
        except RejectError as error:
            reject(conn, pdu, error.reason)

    def _fire(self, conn: Connection, pdu: Pdu) -> None:
        opcode = pdu.opcode
        probe = _RECEIVE_PROBES.get(opcode)  # type: ignore[call-overload]
        if probe is None or not conn.probes.mask >> probe & 1:
            return
        lun = 0
        cdb = b""
        if opcode in _WITH_LUN:
            lun = _probe_lun(conn, pdu)
        elif opcode == Opcode.DATA_OUT:
            command = conn.commands.get(pdu.itt)
            lun = command.probe_lun if command is not None else _probe_lun(conn, pdu)
        if opcode == Opcode.SCSI_COMMAND:
            try:
                cdb = cdb_of(pdu)
            except ValueError:
                cdb = pdu.bhs[32:48]
        conn.probes.pdu(probe, conn.info, lun, pdu.bhs, 0, cdb)

    def place_for(self, conn: Connection, pdu: Pdu, length: int) -> tuple[memoryview | None, ScsiCommand | None, int]:
        """Where a long data segment is received: in the buffer of its task where it can be known, else apart.

        Returns the place, or None when there is no memory for it; the task; and how much was reserved for this PDU.
        """
        session = conn.session
        size = length
        if session is not None and session.full_feature:
            if pdu.opcode == Opcode.DATA_OUT:
                place, command = data_out.place_for(conn, pdu, length)
                if place is None and conn.path.transfers:
                    place = conn.path.place_for(pdu.itt, pdu.ttt, pdu.word(40), length)
                if place is not None:
                    return place, command, 0
            elif pdu.opcode == Opcode.SCSI_COMMAND and pdu.flags & Flag.WRITE:
                size = max(length, min(pdu.word(20), MAX_TRANSFER))  # all its data-out will lie there
        if not conn.memory.reserve(size):
            return None, None, 0
        return memoryview(conn.buffers.take(size))[:length], None, size

    def _oversized(self, conn: Connection, pdu: Pdu) -> None:
        """A data segment beyond our MaxRecvDataSegmentLength: the stream cannot be trusted any more (RFC 7143 7.7)."""
        reason = "a data segment longer than MaxRecvDataSegmentLength"
        session = conn.session
        if session is not None and session.full_feature:
            reject(conn, pdu, RejectReason.PROTOCOL_ERROR)
        else:
            self._login.refuse(conn, pdu, LoginStatus.INITIATOR_ERROR, reason)
        conn.close(reason)

    def _data_digest_failed(self, conn: Connection, pdu: Pdu) -> None:
        """A data digest is wrong (RFC 7143 7.8): Reject; the task that a Data-Out belongs to cannot be completed."""
        reject(conn, pdu, RejectReason.DATA_DIGEST_ERROR)
        session = conn.session
        if session is None or pdu.opcode != Opcode.DATA_OUT:
            return
        try:
            self._data_out(conn, session, pdu)
        except ProtocolError as error:
            conn.close(str(error))

    def ping(self, conn: Connection) -> None:
        """See whether the initiator is still there."""
        nop_logout.ping(conn)

    def gather(self, conn: Connection) -> None:
        """The device server looks at its tasks: have it see all of this connection's."""
        conn.own()
        adopt_all(conn)

    def landed(self, conn: Connection, itt: int) -> None:
        """A command that the data path had in the disk has failed, or has no place for its answer: it is a task now."""
        adopt_flight(conn, itt)

    def give_up_waiting(self, conn: Connection, now: int) -> None:
        """End the commands whose data was to come by ``now``."""
        adopt_all(conn)
        for command in list(conn.commands.values()):
            if command.sequences and command.data_by <= now:
                command.give_up_data()

    def login_answered(self, conn: Connection, secret: bytes | None) -> None:
        """The secret that a login waited for has been looked up."""
        self._login.secret_found(conn, secret)

    def connection_lost(self, conn: Connection) -> None:
        """End what hangs on a connection: its tasks, and its session when this was the last one."""
        adopt_all(conn)
        for command in list(conn.commands.values()):
            command.abort()
        text.end_exchange(conn)
        self._login.forget(conn)
        session = conn.session
        if session is None:
            return
        session.connections.pop(conn.cid, None)
        if not session.connections:
            self._login.end_session(session)


def _serve(conn: Connection, session: Session, pdu: Pdu) -> None:
    opcode = pdu.opcode
    if pdu.fault is Fault.NO_MEMORY and opcode != Opcode.SCSI_COMMAND:
        raise RejectError(RejectReason.LONG_OPERATION_REJECT, "no memory for its data")
    if session.target is None and not _discovers(pdu):
        raise RejectError(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode {opcode:#04x} in a discovery session")
    if opcode == Opcode.SCSI_COMMAND:
        if conn.path.transfers:
            adopt_before(conn, pdu)
        if conn.path.flights:
            adopt_flight(conn, pdu.itt)
    _SERVE[opcode](conn, session, pdu)


def _probe_lun(conn: Connection, pdu: Pdu) -> int:
    """What the probes call the unit: its own number, whatever LUN the initiator knows it by."""
    session = conn.session
    if session is None or session.nexus is None or session.nexus.luns is None:
        return probe_lun(pdu.lun)
    number = session.nexus.unit_of(unit_number(pdu.lun))
    return number if number >= 0 else probe_lun(pdu.lun)


def _discovers(pdu: Pdu) -> bool:
    """Whether a request has its place in a discovery session; the answer to our ping is no request."""
    if pdu.opcode == Opcode.LOGOUT_REQUEST:
        return pdu.flags & 0x7F == LogoutReason.CLOSE_SESSION
    return pdu.opcode == Opcode.TEXT_REQUEST or (pdu.opcode == Opcode.NOP_OUT and pdu.itt == RESERVED_TAG)


def reject(conn: Connection, pdu: Pdu, reason: int) -> None:
    """Send a Reject with the header of the PDU that it rejects, additional segments too (RFC 7143 11.17)."""
    session = conn.session
    if session is None:
        conn.close("a PDU that login does not know")
        return
    rejected = (pdu.bhs + pdu.ahs)[: conn.max_send]
    header = ANSWER.pack(
        Opcode.REJECT, Flag.FINAL, reason, 0, len(rejected), 0, RESERVED_TAG, 0, conn.path.next_statsn(),
        conn.path.exp_cmdsn, conn.path.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    if conn.probes.mask & REJECT_SEND:
        conn.probes.pdu(Probe.REJECT_SEND, conn.info, 0, header)
    conn.out.put(header, rejected)
