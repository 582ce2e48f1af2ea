"""Task Management Function Requests (RFC 7143 11.5, 11.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iscsitools.probes.firing import TASK_RESPONSE
from iscsitools.probes.lun import unit_number
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import (
    ANSWER,
    Flag,
    Opcode,
    Pdu,
    serial_less,
)
from iscsitools.wire.scsi import ManagementFunction, ManagementResponse

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.session.session import Session
    from iscsitools.scsi.core.device import ScsiDevice
    from iscsitools.scsi.core.task_set import QueuedTask

_OF_ALL_UNITS: Final = (ManagementFunction.TARGET_WARM_RESET, ManagementFunction.TARGET_COLD_RESET)
_RESETS: Final = (ManagementFunction.LOGICAL_UNIT_RESET, *_OF_ALL_UNITS)
_OF_SEVERAL_TASKS: Final = (ManagementFunction.ABORT_TASK_SET, ManagementFunction.CLEAR_TASK_SET, *_RESETS)


def task_management(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Serve a Task Management Function Request (RFC 7143 11.5, 11.6)."""
    function = pdu.flags & 0x7F
    device = session.device
    assert device is not None
    assert session.nexus is not None
    lun = unit_number(pdu.lun)
    number = session.nexus.unit_of(lun)
    response = ManagementResponse.NO_REASSIGNMENT
    ended: list[QueuedTask] = []
    if function != ManagementFunction.TASK_REASSIGN:
        response, ended = device.manage(function, session.nexus, number, pdu.ttt)
    if function == ManagementFunction.ABORT_TASK and response != ManagementResponse.COMPLETE:
        response = _abort_elsewhere(session, pdu, number, response)
    if function in _OF_SEVERAL_TASKS and response == ManagementResponse.COMPLETE:
        session.give_up_before(pdu.cmdsn, None if function in _OF_ALL_UNITS else lun)
        _end_waiting(session, function, number)
    for task in ended:
        task.dropped()
    header = ANSWER.pack(
        Opcode.TASK_RESPONSE, Flag.FINAL, response, 0, 0, 0, pdu.itt, 0, conn.path.next_statsn(),
        conn.path.exp_cmdsn, conn.path.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    if conn.probes.mask & TASK_RESPONSE:
        conn.probes.pdu(Probe.TASK_RESPONSE, conn.info, 0, header)
    conn.out.put(header)
    if function == ManagementFunction.TARGET_COLD_RESET and response == ManagementResponse.COMPLETE:
        _drop_all(session, device)


def _abort_elsewhere(
    session: Session, pdu: Pdu, number: int, response: ManagementResponse
) -> ManagementResponse:  # fmt: skip
    """ABORT TASK of a command that the device server does not have; ``response`` when there is no such command.

    ``number``: of the unit that the function names.

    Either its response still waits for its data (RFC 7143 7.8, 11.4.2). Or it has not had its turn, because it came too
    early or its data digest was wrong: then it counts as received, and never runs (11.6.1). RefCmdSN has to be before
    the function's own CmdSN.
    """
    for conn in session.connections.values():
        command = conn.commands.get(pdu.ttt)
        if command is not None and command.waits and command.lun == number:
            command.dropped()
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
            if command.waits and (function in _OF_ALL_UNITS or command.lun == lun):
                command.dropped()


def _drop_all(session: Session, device: ScsiDevice) -> None:
    """TARGET COLD RESET ends all sessions of the target, after the answer (RFC 7143 11.5.1)."""
    for other in session.table or ():
        if other.device is device:
            for conn in other.connections.values():
                conn.close("target cold reset")
                conn.wake(conn)
