"""NOP, Logout and the Asynchronous Message in the full feature phase (RFC 7143 11.9, 11.14, 11.18, 11.19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iscsitools.iscsi.errors import RejectError
from iscsitools.probes.firing import ASYNC_SEND, LOGOUT_RESPONSE, NOP_SEND
from iscsitools.probes.lun import probe_lun
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import (
    ANSWER,
    RESERVED_TAG,
    AsyncEvent,
    Flag,
    LogoutReason,
    LogoutResponse,
    Opcode,
    Pdu,
    RejectReason,
)

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.session.session import Session


def nop_out(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Answer a ping with its own data; the answer to our ping needs none (RFC 7143 11.18)."""
    if pdu.itt == RESERVED_TAG:
        return
    data = pdu.data[: conn.max_send]
    header = ANSWER.pack(
        Opcode.NOP_IN, Flag.FINAL, 0, 0, len(data), pdu.lun, pdu.itt, RESERVED_TAG, conn.path.next_statsn(),
        conn.path.exp_cmdsn, conn.path.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    if conn.probes.mask & NOP_SEND:
        conn.probes.pdu(Probe.NOP_SEND, conn.info, probe_lun(pdu.lun), header)
    conn.out.put(header, bytes(data))


def ping(conn: Connection) -> None:
    """Send a NOP-In that wants an answer (RFC 7143 11.19); it does not use up the StatSN that it carries (11.19.4)."""
    if conn.session is None:
        return
    conn.own()
    header = ANSWER.pack(
        Opcode.NOP_IN, Flag.FINAL, 0, 0, 0, 0, RESERVED_TAG, conn.next_ttt(), conn.path.statsn,
        conn.path.exp_cmdsn, conn.path.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    if conn.probes.mask & NOP_SEND:
        conn.probes.pdu(Probe.NOP_SEND, conn.info, 0, header)
    conn.out.put(header)


def logout(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Serve a Logout Request: the tasks of what is logged out end first, then the answer, then the close (11.14)."""
    reason = pdu.flags & 0x7F
    response = LogoutResponse.SUCCESS
    if reason == LogoutReason.REMOVE_FOR_RECOVERY:
        response = LogoutResponse.RECOVERY_NOT_SUPPORTED
    elif reason == LogoutReason.CLOSE_CONNECTION and pdu.word(20) >> 16 != conn.cid:
        response = LogoutResponse.CID_NOT_FOUND
    elif reason > LogoutReason.REMOVE_FOR_RECOVERY:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, f"logout reason {reason}")
    leaving = response == LogoutResponse.SUCCESS
    if leaving:
        for command in list(conn.commands.values()):
            command.abort()
    parameters = session.parameters
    header = ANSWER.pack(
        Opcode.LOGOUT_RESPONSE, Flag.FINAL, response, 0, 0, 0, pdu.itt, 0, conn.path.next_statsn(), conn.path.exp_cmdsn,
        conn.path.max_cmdsn, 0, parameters.default_time2wait << 16 | parameters.default_time2retain, 0,
    )  # fmt: skip
    if conn.probes.mask & LOGOUT_RESPONSE:
        conn.probes.pdu(Probe.LOGOUT_RESPONSE, conn.info, 0, header)
    conn.out.put(header)
    if leaving:
        conn.close("logged out")


def async_message(conn: Connection, event: AsyncEvent, parameters: tuple[int, int, int] = (0, 0, 0)) -> None:
    """Send an Asynchronous Message with its event and three parameters (RFC 7143 11.9)."""
    session = conn.session
    if session is None or not session.full_feature:
        return
    conn.own()
    first, second, third = parameters
    header = ANSWER.pack(
        Opcode.ASYNC_MESSAGE, Flag.FINAL, 0, 0, 0, 0, RESERVED_TAG, 0, conn.path.next_statsn(), conn.path.exp_cmdsn,
        conn.path.max_cmdsn, event << 24 | first, second << 16 | third, 0,
    )  # fmt: skip
    if conn.probes.mask & ASYNC_SEND:
        conn.probes.pdu(Probe.ASYNC_SEND, conn.info, 0, header)
    conn.out.put(header)
