"""One event's details in a few words: what is in the PDU beyond its tags and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iscsitools.probes.firing import XFER_READ
from iscsitools.probes.table import RESERVED_TAG, Probe
from iscsitools.trace.events import Event
from iscsitools.trace.views import header_fields
from iscsitools.wire.operations import extent_of, name_of
from iscsitools.wire.scsi import status_name
from iscsitools.wire.sense import sense_codes, sense_text


def command_text(cdb: bytes) -> str:
    """The command's name, then ``LBA+LENGTH`` in blocks where it names a range: ``READ(10) 2048+8``."""
    extent = extent_of(cdb)
    return name_of(cdb) if extent is None else f"{name_of(cdb)} {extent.lba}+{extent.blocks}"


def status_text(status: int, sense: int, wide: bool) -> str:
    """A status, with its sense in words; without ``wide``, so that it fits a line, the sense's numbers alone."""
    if not sense:
        return status_name(status)
    return f"{status_name(status)}, {sense_text(sense)}" if wide else f"CHECK {sense_codes(sense)}"


def detail_of(event: Event, wide: bool = False) -> str:
    """The event's details; "" where its fields say all."""
    describe = _DETAILS.get(event.probe)
    return describe(event, wide) if describe is not None else ""


def _login_command(event: Event, wide: bool) -> str:
    return header_fields.stages(event)


def _login_response(event: Event, wide: bool) -> str:
    status = header_fields.login_status(event)
    return f"status {status >> 8:02x}{status & 0xFF:02x}" if status else header_fields.stages(event)


def _command(event: Event, wide: bool) -> str:
    return command_text(event.cdb)


def _response(event: Event, wide: bool) -> str:
    if header_fields.response(event):
        return f"response {header_fields.response(event):02x}h"
    return status_text(header_fields.scsi_status(event), event.sense, wide) + _residual(event)


def _residual(event: Event) -> str:
    left = header_fields.residual(event)
    return f" residual {left}" if left else ""


def _data_send(event: Event, wide: bool) -> str:
    text = f"{event.info.datalen} bytes"
    if event.info.flags & header_fields.DATA_STATUS:
        text += " " + status_text(header_fields.scsi_status(event), event.sense, wide) + _residual(event)
    return text


def _bytes(event: Event, wide: bool) -> str:
    return f"{event.info.datalen} bytes"


def _request(event: Event, wide: bool) -> str:
    """Buffer Offset and Desired Data Transfer Length (RFC 7143 11.8)."""
    offset = int.from_bytes(event.bhs[40:44], "big")
    return f"{int.from_bytes(event.bhs[44:48], 'big')} bytes at {offset}"


def _task_command(event: Event, wide: bool) -> str:
    name = _named(header_fields.MANAGEMENT, header_fields.function(event))
    return name if event.info.ttt == RESERVED_TAG else f"{name} {event.info.ttt:x}"


def _task_response(event: Event, wide: bool) -> str:
    return _named(header_fields.MANAGEMENT_RESPONSE, header_fields.response(event))


def _logout_command(event: Event, wide: bool) -> str:
    return _named(header_fields.LOGOUT_REASON, event.bhs[1] & 0x7F)


def _logout_response(event: Event, wide: bool) -> str:
    return _named(header_fields.LOGOUT_RESPONSE, header_fields.response(event))


def _nop(event: Event, wide: bool) -> str:
    """A NOP with a tag of the sender's own asks for an answer; with the other's it is one (RFC 7143 11.18, 11.19)."""
    received = event.probe is Probe.NOP_RECEIVE
    asks = event.info.itt != RESERVED_TAG if received else event.info.ttt != RESERVED_TAG
    return "ping" if asks else "answer"


def _async(event: Event, wide: bool) -> str:
    return _named(header_fields.ASYNC_EVENT, event.bhs[36])


def _reject(event: Event, wide: bool) -> str:
    return _named(header_fields.REJECT_REASON, header_fields.response(event))


def _snack(event: Event, wide: bool) -> str:
    return _named(header_fields.SNACK_TYPE, event.bhs[1] & 0x0F)


def _xfer(event: Event, wide: bool) -> str:
    if event.xfer is None:
        return ""
    direction = "read" if event.xfer.type == XFER_READ else "write"
    return f"{direction} {event.xfer.length} at {event.xfer.loffset}"


def _named(names: dict[int, str], number: int) -> str:
    return names.get(number, f"{number:02x}h")


_DETAILS: Final[dict[Probe, Callable[[Event, bool], str]]] = {
    Probe.LOGIN_COMMAND: _login_command,
    Probe.LOGIN_RESPONSE: _login_response,
    Probe.LOGOUT_COMMAND: _logout_command,
    Probe.LOGOUT_RESPONSE: _logout_response,
    Probe.TEXT_COMMAND: _bytes,
    Probe.TEXT_RESPONSE: _bytes,
    Probe.SCSI_COMMAND: _command,
    Probe.SCSI_RESPONSE: _response,
    Probe.DATA_SEND: _data_send,
    Probe.DATA_RECEIVE: _bytes,
    Probe.DATA_REQUEST: _request,
    Probe.TASK_COMMAND: _task_command,
    Probe.TASK_RESPONSE: _task_response,
    Probe.NOP_RECEIVE: _nop,
    Probe.NOP_SEND: _nop,
    Probe.ASYNC_SEND: _async,
    Probe.REJECT_SEND: _reject,
    Probe.SNACK_RECEIVE: _snack,
    Probe.XFER_START: _xfer,
    Probe.XFER_DONE: _xfer,
}
