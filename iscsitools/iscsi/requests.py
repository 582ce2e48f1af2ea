"""NOP-Out, Task Management, Text and Logout in the full feature phase, and the Asynchronous Message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi import text as keys
from iscsitools.iscsi.errors import RejectError, RejectReason
from iscsitools.iscsi.pdu import (
    ANSWER,
    RESERVED_TAG,
    SERIAL_MASK,
    AsyncEvent,
    Flag,
    LogoutReason,
    LogoutResponse,
    Opcode,
    Pdu,
    serial_less,
)
from iscsitools.probes.lun import probe_lun, unit_number
from iscsitools.probes.sites import ASYNC_SEND, LOGOUT_RESPONSE, NOP_SEND, TASK_RESPONSE, TEXT_RESPONSE
from iscsitools.probes.table import Probe
from iscsitools.scsi.task import ManagementFunction, ManagementResponse

if TYPE_CHECKING:
    from iscsitools.iscsi.connection import Connection
    from iscsitools.iscsi.discovery import TextResponder
    from iscsitools.iscsi.session import Session
    from iscsitools.scsi.device import ScsiDevice
    from iscsitools.scsi.task import Task

_MAX_TEXT: Final = 64 << 10
"""Bytes of one Text exchange, over all its PDUs."""

_OF_ALL_UNITS: Final = (ManagementFunction.TARGET_WARM_RESET, ManagementFunction.TARGET_COLD_RESET)
_RESETS: Final = (ManagementFunction.LOGICAL_UNIT_RESET, *_OF_ALL_UNITS)
_OF_SEVERAL_TASKS: Final = (ManagementFunction.ABORT_TASK_SET, ManagementFunction.CLEAR_TASK_SET, *_RESETS)


@dataclass(slots=True)
class TextExchange:
    """A Text negotiation that spans several PDUs: what has come, or what is still to be sent (RFC 7143 11.10)."""

    itt: int
    ttt: int = RESERVED_TAG
    received: bytearray = field(default_factory=bytearray)
    pieces: list[bytes] = field(default_factory=list)


def nop_out(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Answer a ping with its own data; the answer to our ping needs none (RFC 7143 11.18)."""
    if pdu.itt == RESERVED_TAG:
        return
    data = pdu.data[: conn.max_send]
    header = ANSWER.pack(
        Opcode.NOP_IN, Flag.FINAL, 0, 0, len(data), pdu.lun, pdu.itt, RESERVED_TAG, conn.statsn,
        session.exp_cmdsn, session.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    conn.statsn = (conn.statsn + 1) & SERIAL_MASK
    if conn.probes.mask & NOP_SEND:
        conn.probes.pdu(Probe.NOP_SEND, conn.info, probe_lun(pdu.lun), header)
    conn.out.put(header, bytes(data))


def task_management(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Serve a Task Management Function Request (RFC 7143 11.5, 11.6)."""
    function = pdu.flags & 0x7F
    device = session.device
    assert device is not None
    assert session.nexus is not None
    number = unit_number(pdu.lun)
    response = ManagementResponse.NO_REASSIGNMENT
    ended: list[Task] = []
    if function != ManagementFunction.TASK_REASSIGN:
        response, ended = device.manage(function, session.nexus, number, pdu.ttt)
    if function == ManagementFunction.ABORT_TASK and response != ManagementResponse.COMPLETE:
        response = _abort_elsewhere(session, pdu, response)
    if function in _OF_SEVERAL_TASKS and response == ManagementResponse.COMPLETE:
        session.give_up_before(pdu.cmdsn, None if function in _OF_ALL_UNITS else number)
        _end_waiting(session, function, number)
    for task in ended:
        owner = task.owner
        assert owner is not None
        owner.drop()
    header = ANSWER.pack(
        Opcode.TASK_RESPONSE, Flag.FINAL, response, 0, 0, 0, pdu.itt, 0, conn.statsn,
        session.exp_cmdsn, session.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    conn.statsn = (conn.statsn + 1) & SERIAL_MASK
    if conn.probes.mask & TASK_RESPONSE:
        conn.probes.pdu(Probe.TASK_RESPONSE, conn.info, 0, header)
    conn.out.put(header)
    if function == ManagementFunction.TARGET_COLD_RESET and response == ManagementResponse.COMPLETE:
        _drop_all(session, device)


def _abort_elsewhere(session: Session, pdu: Pdu, response: ManagementResponse) -> ManagementResponse:
    """ABORT TASK of a command that the device server does not have; ``response`` when there is no such command.

    Either its response still waits for its data (RFC 7143 7.8, 11.4.2). Or it has not had its turn, because it came too
    early or its data digest was wrong: then it counts as received, and never runs (11.6.1). RefCmdSN has to be before
    the function's own CmdSN.
    """
    for conn in session.connections.values():
        command = conn.commands.get(pdu.ttt)
        if command is not None and command.waits and unit_number(command.lun) == unit_number(pdu.lun):
            command.drop()
            return ManagementResponse.COMPLETE
    ref_cmdsn = pdu.word(32)
    if response == ManagementResponse.NO_SUCH_TASK and serial_less(ref_cmdsn, pdu.cmdsn):
        return ManagementResponse.COMPLETE if session.give_up(pdu.ttt, ref_cmdsn) else response
    return response


def _end_waiting(session: Session, function: int, lun: int) -> None:
    """End commands whose response waits for data (RFC 7143 11.4.2), with the tasks that a function ended.

    Those of other sessions by the resets only: CLEAR TASK SET tells others of the tasks that it took from the task set,
    and these had left it. Their status stands.
    """
    resets = function in _RESETS
    sessions = [other for other in session.table or () if other.device is session.device] if resets else [session]
    for conn in [conn for each in sessions for conn in each.connections.values()]:
        for command in list(conn.commands.values()):
            if command.waits and (function in _OF_ALL_UNITS or unit_number(command.lun) == lun):
                command.drop()


def _drop_all(session: Session, device: ScsiDevice) -> None:
    """TARGET COLD RESET ends all sessions of the target, after the answer (RFC 7143 11.5.1)."""
    for other in session.table or ():
        if other.device is device:
            for conn in other.connections.values():
                conn.close("target cold reset")
                conn.wake(conn)


def text(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Serve a Text Request: gather its PDUs, answer, and send the answer in pieces (RFC 7143 11.10, 11.11)."""
    final = bool(pdu.flags & Flag.FINAL)
    if final and pdu.flags & Flag.CONTINUE:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "a Text Request that is final and goes on")
    exchange, responder = conn.text, conn.responder
    assert responder is not None
    if pdu.ttt == RESERVED_TAG:  # what there was of an exchange is forgotten (11.10.4)
        exchange = conn.text = TextExchange(pdu.itt)
        responder.begin()
    elif exchange is None or (exchange.itt, exchange.ttt) != (pdu.itt, pdu.ttt):
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "a Text Request continues an exchange that is not there")
    if exchange.pieces:
        _send_text(conn, session, exchange, responder, final)
        return
    exchange.received += pdu.data
    if len(exchange.received) > _MAX_TEXT:
        conn.text = None
        raise RejectError(RejectReason.LONG_OPERATION_REJECT, "a Text exchange of more than 64 KiB")
    if pdu.flags & Flag.CONTINUE:
        _put_text(conn, session, exchange, b"", more=False, final=False)
        return
    received = bytes(exchange.received)
    exchange.received.clear()
    try:
        answer = responder.answer(received)
    except RejectError:
        conn.text = None
        raise
    exchange.pieces = list(keys.split_text(answer, conn.max_send)) or [b""]
    _send_text(conn, session, exchange, responder, final)


def _send_text(
    conn: Connection, session: Session, exchange: TextExchange, responder: TextResponder, final: bool
) -> None:
    """Send the next piece. ``final``: the F bit of the request; without it the answer has none either (11.11.1)."""
    piece = exchange.pieces.pop(0)
    more = bool(exchange.pieces)
    _put_text(conn, session, exchange, piece, more=more, final=final and not more)
    if final and not more:
        conn.text = None
        responder.complete()
        conn.set_max_send(conn.parameters.initiator_max_recv_data_segment_length)


def _put_text(
    conn: Connection, session: Session, exchange: TextExchange, data: bytes, *, more: bool, final: bool
) -> None:
    if final:
        exchange.ttt = RESERVED_TAG
    elif exchange.ttt == RESERVED_TAG:
        exchange.ttt = conn.next_ttt()
    header = ANSWER.pack(
        Opcode.TEXT_RESPONSE, (Flag.FINAL if final else 0) | (Flag.CONTINUE if more else 0), 0, 0, len(data), 0,
        exchange.itt, exchange.ttt, conn.statsn, session.exp_cmdsn, session.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    conn.statsn = (conn.statsn + 1) & SERIAL_MASK
    if conn.probes.mask & TEXT_RESPONSE:
        conn.probes.pdu(Probe.TEXT_RESPONSE, conn.info, 0, header)
    conn.out.put(header, data)


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
        Opcode.LOGOUT_RESPONSE, Flag.FINAL, response, 0, 0, 0, pdu.itt, 0, conn.statsn, session.exp_cmdsn,
        session.max_cmdsn, 0, parameters.default_time2wait << 16 | parameters.default_time2retain, 0,
    )  # fmt: skip
    conn.statsn = (conn.statsn + 1) & SERIAL_MASK
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
    first, second, third = parameters
    header = ANSWER.pack(
        Opcode.ASYNC_MESSAGE, Flag.FINAL, 0, 0, 0, 0, RESERVED_TAG, 0, conn.statsn, session.exp_cmdsn,
        session.max_cmdsn, event << 24 | first, second << 16 | third, 0,
    )  # fmt: skip
    conn.statsn = (conn.statsn + 1) & SERIAL_MASK
    if conn.probes.mask & ASYNC_SEND:
        conn.probes.pdu(Probe.ASYNC_SEND, conn.info, 0, header)
    conn.out.put(header)
