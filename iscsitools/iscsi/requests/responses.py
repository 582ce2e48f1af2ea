"""What a SCSI command off the fast path is answered with: SCSI Response, or Data-In with the status in the last PDU."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from iscsitools.iscsi.connection.memory import address_of
from iscsitools.probes.firing import DATA_SEND, SCSI_RESPONSE, XFER_DONE, XFER_READ, XFER_START
from iscsitools.probes.table import Probe
from iscsitools.scsi.core.task import Task
from iscsitools.wire.rfc7143 import ANSWER, RESERVED_TAG, SERIAL_MASK, Flag, Opcode
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand


def sense_code(sense: bytes) -> int:
    """Return key << 16 | ASC << 8 | ASCQ of fixed-format sense data; 0 without any."""
    return (sense[2] & 0xF) << 16 | sense[12] << 8 | sense[13] if len(sense) >= 14 else 0


def _moves_the_other_way(task: Task) -> bool:
    """The initiator expects data in one direction only, and the CDB moves it in the other (RFC 7143 11.3.1)."""
    if task.reads == task.writes:
        return False
    return task.reads if task.data_out_length else task.writes and task.transfer_length > 0


def residual(task: Task, moved: int) -> tuple[int, int]:
    """Residual flags and count (RFC 7143 11.4.5): what the command meant to move against what was expected."""
    edtl = task.edtl
    meant = task.transfer_length if task.transfer_length >= 0 else moved
    # Who is refused for what it expects to move is told what it should have been.
    of_length = sense_code(task.sense) & 0xFFFF == Asc.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    if task.status not in (Status.GOOD, Status.CONDITION_MET) and not of_length:
        meant = moved
    elif edtl and _moves_the_other_way(task):
        meant = 0  # nothing of what was expected: an underflow of all of it
    if meant > edtl:
        return Flag.OVERFLOW, min(meant - edtl, SERIAL_MASK)
    if meant < edtl:
        return Flag.UNDERFLOW, edtl - meant
    return 0, 0


def send_response(command: ScsiCommand) -> None:
    """Put a SCSI Response (RFC 7143 11.4)."""
    conn, path, sense = command.conn, command.conn.path, command.sense
    path.written_bytes += len(command.data_out)
    flags, count = residual(command, command.received)
    data = len(sense).to_bytes(2, "big") + sense if sense else b""
    header = ANSWER.pack(
        Opcode.SCSI_RESPONSE, Flag.FINAL | flags, 0, command.status, len(data), 0, command.tag, 0,
        path.next_statsn(), path.exp_cmdsn, path.max_cmdsn, command.r2tsn, 0, count,
    )  # fmt: skip
    if conn.probes.mask & SCSI_RESPONSE:
        conn.probes.pdu(Probe.SCSI_RESPONSE, conn.info, command.probe_lun, header, 0, b"", sense_code(sense))
    conn.out.put(header, data)


def send_data(command: ScsiCommand) -> None:
    """Put the Data-In PDUs of a read, status in the last of them (RFC 7143 11.7)."""
    conn, path, session = command.conn, command.conn.path, command.conn.session
    assert session is not None
    out, probes, mask = conn.out, conn.probes, conn.probes.mask
    data = memoryview(command.data_in)[: command.edtl]
    total = len(data)
    burst = session.parameters.max_burst_length
    flags, count = residual(command, len(command.data_in))
    lun, itt = command.probe_lun, command.tag
    address = address_of(data) if mask & (XFER_START | XFER_DONE) else 0
    if mask & XFER_START:
        probes.xfer(Probe.XFER_START, conn.info, lun, itt, RESERVED_TAG, address, 0, total, XFER_READ)
    offset = sequence = 0
    while offset < total:
        length = min(conn.max_send, total - offset, burst - offset % burst)
        end = offset + length
        last = end == total
        header = ANSWER.pack(
            Opcode.DATA_IN,
            (Flag.FINAL | Flag.STATUS | flags) if last else Flag.FINAL if end % burst == 0 else 0,
            0, command.status if last else 0, length, 0, itt, RESERVED_TAG,
            path.next_statsn() if last else 0, path.exp_cmdsn, path.max_cmdsn, sequence, offset, count if last else 0,
        )  # fmt: skip
        if mask & DATA_SEND:
            probes.pdu(Probe.DATA_SEND, conn.info, lun, header, 0)
        out.put(header, data[offset:end])
        offset, sequence = end, sequence + 1
    path.read_bytes += total
    if mask & XFER_DONE:
        out.mark(lun, itt, address, 0, total)
    if command.reserved or command.lent is not None:
        reserved, command.reserved = command.reserved, 0
        lent, command.lent = command.lent, None
        out.when_sent(partial(_sent, conn, reserved, lent))


def _sent(conn: Connection, reserved: int, lent: bytearray | None) -> None:
    """The data of a read has left, or nobody will get it."""
    conn.memory.release(reserved)
    if lent is not None:
        conn.buffers.give(lent)
