"""tshark's names of header fields, and where the trace has the same number (provider table, RFC 7143 chapter 11)."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.probes.table import Probe
from iscsitools.trace import Event
from iscsitools.trace.views import header_fields as views

FIELDS: dict[str, Callable[[Event], int]] = {
    # Flat space addressing above 255 (SAM-5 4.7.7.3), as the initiator here writes it.
    "scsi.lun": lambda event: event.info.lun | (0x4000 if event.info.lun > 255 else 0),
    "iscsi.flags": lambda event: event.info.flags,
    "iscsi.datasegmentlength": lambda event: event.info.datalen,
    "iscsi.initiatortasktag": lambda event: event.info.itt,
    "iscsi.targettransfertag": lambda event: event.info.ttt,
    "iscsi.taskmanfun.referencedtasktag": lambda event: event.info.ttt,
    # A received PDU's CmdSN and ExpStatSN, a sent one's ExpCmdSN and StatSN.
    "iscsi.cmdsn": lambda event: event.info.cmdsn,
    "iscsi.expcmdsn": lambda event: event.info.cmdsn,
    "iscsi.expstatsn": lambda event: event.info.statsn,
    "iscsi.statsn": lambda event: event.info.statsn,
    "iscsi.datasn": lambda event: event.info.datasn,
    "iscsi.r2tsn": lambda event: event.info.datasn,
    "iscsi.expdatasn": lambda event: event.info.datasn,
    "iscsi.isid": lambda event: int(event.conn.isid, 16),
    "iscsi.tsih": lambda event: int(event.conn.tsih, 16),
    # What a record has beyond the probes.
    "iscsi.scsiresponse.status": views.scsi_status,
    "iscsi.scsiresponse.response": views.response,
    "iscsi.taskmanfun.function": views.function,
    "iscsi.taskmanfun.response": views.response,
    "iscsi.logout.response": views.response,
    "iscsi.reject.reason": views.response,
    "iscsi.login.status": views.login_status,
    "iscsi.scsiresponse.residualcount": lambda event: abs(views.residual(event)),
    "iscsi.scsidata.readresidualcount": lambda event: abs(views.residual(event)),
}
"""tshark shows these in every PDU; those of it in which the specification defines another value are named below."""

NOT_IN_THE_PROBE: dict[Probe, frozenset[str]] = {
    Probe.LOGOUT_COMMAND: frozenset({"iscsi.datasegmentlength"}),
    Probe.LOGOUT_RESPONSE: frozenset({"iscsi.datasegmentlength"}),
    Probe.DATA_REQUEST: frozenset({"iscsi.datasegmentlength"}),
    Probe.TASK_COMMAND: frozenset({"iscsi.datasegmentlength", "iscsi.flags", "iscsi.expdatasn"}),
    Probe.TEXT_COMMAND: frozenset({"scsi.lun"}),
    Probe.TEXT_RESPONSE: frozenset({"scsi.lun"}),
    # The task's LUN, which the initiator need not repeat: Data-In carries one with the A bit only (RFC 7143 11.7.4).
    Probe.DATA_SEND: frozenset({"scsi.lun"}),
    # The last response says the session's handle, which the requests did not know yet.
    Probe.LOGIN_COMMAND: frozenset(),
}

_NO_TAG = 0xFFFFFFFF
_LOGIN = {"lun": 0, "ttt": _NO_TAG, "datasn": 0}
CONSTANT: dict[Probe, dict[str, int]] = {
    Probe.LOGIN_COMMAND: _LOGIN,
    Probe.LOGIN_RESPONSE: _LOGIN,
    Probe.LOGOUT_COMMAND: _LOGIN | {"datalen": 0},
    Probe.LOGOUT_RESPONSE: _LOGIN | {"datalen": 0},
    Probe.TEXT_COMMAND: {"lun": 0, "datasn": 0},
    Probe.TEXT_RESPONSE: {"lun": 0, "datasn": 0},
    Probe.SCSI_COMMAND: {"ttt": _NO_TAG, "datasn": 0},
    Probe.SCSI_RESPONSE: {"ttt": _NO_TAG},
    Probe.DATA_RECEIVE: {"cmdsn": 0},
    Probe.DATA_REQUEST: {"datalen": 0},
    Probe.TASK_COMMAND: {"datasn": 0, "datalen": 0, "flags": 0},
    Probe.TASK_RESPONSE: _LOGIN,
    Probe.NOP_RECEIVE: {"datasn": 0},
    Probe.NOP_SEND: {"datasn": 0},
    Probe.ASYNC_SEND: {"itt": _NO_TAG, "ttt": _NO_TAG, "datasn": 0},
}
"""What the specification says of a field instead of taking it from the PDU."""

OF_THE_TASK = frozenset({Probe.SCSI_RESPONSE, Probe.DATA_SEND, Probe.DATA_RECEIVE, Probe.DATA_REQUEST})
"""Their LUN is that of the SCSI Command."""
