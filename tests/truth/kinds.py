"""Which probe each kind of PDU fires, and the target that is asked to send all of them."""

from __future__ import annotations

from iscsitools.initiator import Opcode
from iscsitools.probes.table import XFER_PROBES, Probe
from iscsitools.trace import Event

CONFIG = """\
name = "truth"
data_path = "{data_path}"
{more}
[limits]
nop_interval = 1
max_recv_data_segment_length = 8192
first_burst_length = 32768
max_burst_length = 65536
max_outstanding_r2t = 2
[[target]]
iqn = "{target}"
lun = [{luns}]
"""
KINDS = {
    Opcode.NOP_OUT: Probe.NOP_RECEIVE,
    Opcode.SCSI_COMMAND: Probe.SCSI_COMMAND,
    Opcode.TASK_REQUEST: Probe.TASK_COMMAND,
    Opcode.LOGIN_REQUEST: Probe.LOGIN_COMMAND,
    Opcode.TEXT_REQUEST: Probe.TEXT_COMMAND,
    Opcode.DATA_OUT: Probe.DATA_RECEIVE,
    Opcode.LOGOUT_REQUEST: Probe.LOGOUT_COMMAND,
    Opcode.SNACK_REQUEST: Probe.SNACK_RECEIVE,
    Opcode.NOP_IN: Probe.NOP_SEND,
    Opcode.SCSI_RESPONSE: Probe.SCSI_RESPONSE,
    Opcode.TASK_RESPONSE: Probe.TASK_RESPONSE,
    Opcode.LOGIN_RESPONSE: Probe.LOGIN_RESPONSE,
    Opcode.TEXT_RESPONSE: Probe.TEXT_RESPONSE,
    Opcode.DATA_IN: Probe.DATA_SEND,
    Opcode.LOGOUT_RESPONSE: Probe.LOGOUT_RESPONSE,
    Opcode.R2T: Probe.DATA_REQUEST,
    Opcode.ASYNC_MESSAGE: Probe.ASYNC_SEND,
    Opcode.REJECT: Probe.REJECT_SEND,
}
LONG = {Probe.LOGIN_COMMAND, Probe.TEXT_COMMAND, Probe.TEXT_RESPONSE}
SENT = frozenset(probe for opcode, probe in KINDS.items() if opcode & 0x20)

Stream = tuple[str, bool]
"""The initiator's ``address:port``, and whether the target sent."""


def event_streams(events: list[Event]) -> dict[Stream, list[Event]]:
    """The events of PDUs that tshark sees, in order."""
    streams: dict[Stream, list[Event]] = {}
    for event in events:
        # A Text Response that waits for more of the request has neither the F nor the C bit (RFC 7143 11.11). tshark
        # does not take it for iSCSI; tests/truth/test_rules.py has another witness for it.
        unseen = event.probe is Probe.TEXT_RESPONSE and not event.info.flags
        if event.probe not in XFER_PROBES and not unseen:
            streams.setdefault((event.conn.remote, event.probe in SENT), []).append(event)
    return streams
