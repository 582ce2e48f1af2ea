"""Data-out: immediate data, unsolicited Data-Out, and what R2Ts ask for (RFC 7143 4.2.5.2, 11.7, 11.8).

The rules, all of them: immediate data only with ImmediateData=Yes; Data-Out unasked only with InitialR2T=No and
until its F bit; both together at most FirstBurstLength; the rest by R2Ts of at most MaxBurstLength, at most
MaxOutstandingR2T at a time. DataPDUInOrder and DataSequenceInOrder are always Yes here, so DataSN counts from 0 in
each sequence and offsets only grow. On ERL 0 a sequence that breaks this cannot be mended: the command fails.

A command that has failed, here or in the device server, gets no further R2T, and what still comes of its data is thrown
away. Its response waits for that (11.4.2, 7.8): until each sequence that is open, the unsolicited one if the F bit of
the command announced it and those of its R2Ts, has had its F bit or all its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iscsitools.iscsi.connection.memory import address_of
from iscsitools.probes.firing import DATA_REQUEST, FIRED_TRANSFER, XFER_DONE, XFER_START, XFER_WRITE
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import ANSWER, RESERVED_TAG, SERIAL_MASK, Fault, Flag, Opcode, Pdu
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.login.parameters import Parameters
    from iscsitools.iscsi.requests.scsi_command import ScsiCommand


@dataclass(slots=True, eq=False)
class Sequence:
    """One Data-Out sequence: unsolicited (``ttt`` reserved), or what one R2T asked for."""

    ttt: int
    offset: int
    length: int
    received: int = 0
    datasn: int = 0
    address: int = 0
    """Of its first byte, for the xfer probes: kept, because an abort takes the buffer away before xfer-done fires."""


def unsolicited_error(parameters: Parameters, pdu: Pdu) -> int:
    """What a SCSI Command brings that was not negotiated, as ASC << 8 | ASCQ; 0 when all is well."""
    length = len(pdu.data)
    edtl = pdu.word(20)
    final = pdu.flags & Flag.FINAL
    if not pdu.flags & Flag.WRITE:
        return Asc.UNEXPECTED_UNSOLICITED_DATA if length or not final else 0
    if (length and not parameters.immediate_data) or (not final and parameters.initial_r2t):
        return Asc.UNEXPECTED_UNSOLICITED_DATA
    return Asc.INCORRECT_AMOUNT_OF_DATA if length > min(edtl, parameters.first_burst_length) else 0


def expect(command: ScsiCommand, parameters: Parameters, pdu: Pdu) -> None:
    """What comes behind a command that writes: an unsolicited sequence, if one was agreed on and its F bit says so."""
    if not pdu.flags & Flag.FINAL and not parameters.initial_r2t:
        limit = min(command.edtl, parameters.first_burst_length)
        command.sequences.append(Sequence(RESERVED_TAG, 0, limit, pdu.word(4) & 0xFFFFFF))


def begin(command: ScsiCommand, pdu: Pdu, wanted: int) -> None:
    """Take a command's immediate data and get the rest of its ``wanted`` bytes, then execute it."""
    conn = command.conn
    if not conn.memory.reserve(wanted):
        command.fail(0, Status.BUSY)
        return
    place = pdu.data.obj
    in_place = isinstance(place, bytearray) and place is not conn.buffers.receive and len(place) >= wanted
    command.buffer = place if in_place and isinstance(place, bytearray) else conn.buffers.take(max(wanted, 1))
    command.taking = True
    command.wanted = wanted
    _store(command, 0, pdu.data)
    immediate = len(pdu.data)
    command.received = command.asked = immediate
    if command.sequences:
        _fire(Probe.XFER_START, command, command.sequences[0], command.sequences[0].length)
    elif immediate and pdu.fired != FIRED_TRANSFER:
        whole = Sequence(RESERVED_TAG, 0, immediate)
        _fire(Probe.XFER_START, command, whole, immediate)
        _fire(Probe.XFER_DONE, command, whole, immediate)
    _go_on(command)


def end(command: ScsiCommand) -> None:
    """The command ends: its transfers end with what has come. Sequences with bytes to come stay open."""
    for sequence in command.sequences[:]:
        if command.taking:
            _fire(Probe.XFER_DONE, command, sequence, sequence.received)
        if sequence.received >= sequence.length:
            command.sequences.remove(sequence)
    command.taking = False


def data_out(conn: Connection, pdu: Pdu) -> None:
    """Take a Data-Out PDU (RFC 7143 11.7). One that belongs to no task is thrown away: its task has ended.

    When its data was corrupted, its task cannot be completed (7.8). What its header says holds all the same: the F bit
    in it does not come again.
    """
    command = conn.commands.get(pdu.itt)
    sequence = _sequence_of(command, pdu.ttt)
    if command is None or sequence is None:
        return  # a task that has all its data may be running, and its buffer in use
    if not command.taking:
        _skip(command, sequence, pdu)
        command.answer_if_all_came()
    elif pdu.fault is Fault.NO_MEMORY:
        end(command)
        _skip(command, sequence, pdu)
        command.fail(0, Status.BUSY)
    elif asc := Asc.PROTOCOL_SERVICE_CRC_ERROR if pdu.fault else _error_of(sequence, pdu):
        end(command)
        _skip(command, sequence, pdu)
        command.fail(asc)
    else:
        _take(command, sequence, pdu)


def _skip(command: ScsiCommand, sequence: Sequence, pdu: Pdu) -> None:
    """Count a Data-Out that is thrown away. Behind its F bit, or the last byte, no more of the sequence comes."""
    sequence.received += pdu.word(4) & 0xFFFFFF
    if (pdu.flags & Flag.FINAL or sequence.received >= sequence.length) and sequence in command.sequences:
        command.sequences.remove(sequence)


def _error_of(sequence: Sequence, pdu: Pdu) -> int:
    """What is wrong with a sequence's next PDU, as ASC << 8 | ASCQ; 0 when it goes on as it should."""
    if pdu.word(36) != sequence.datasn or pdu.word(40) != sequence.offset + sequence.received:
        return Asc.DATA_PHASE_ERROR
    at_end = sequence.received + len(pdu.data)
    short = pdu.flags & Flag.FINAL and sequence.ttt != RESERVED_TAG and at_end < sequence.length
    return Asc.INCORRECT_AMOUNT_OF_DATA if short or at_end > sequence.length else 0


def _take(command: ScsiCommand, sequence: Sequence, pdu: Pdu) -> None:
    """Take a sequence's next PDU, and go on when it is the last."""
    length = len(pdu.data)
    _store(command, pdu.word(40), pdu.data)
    command.received += length
    sequence.received += length
    sequence.datasn = (sequence.datasn + 1) & SERIAL_MASK
    if pdu.flags & Flag.FINAL or (sequence.ttt != RESERVED_TAG and sequence.received == sequence.length):
        _fire(Probe.XFER_DONE, command, sequence, sequence.received)
        command.sequences.remove(sequence)
        command.asked = max(command.asked, command.received)
        command.data_by = pdu.now + command.conn.timers.data_out
        _go_on(command)


def _store(command: ScsiCommand, offset: int, data: memoryview) -> None:
    """Keep received bytes, unless they were received in place."""
    end = min(offset + len(data), command.wanted)
    if end > offset and data.obj is not command.buffer:
        memoryview(command.buffer)[offset:end] = data[: end - offset]


def place_for(conn: Connection, pdu: Pdu, length: int) -> tuple[memoryview | None, ScsiCommand | None]:
    """Where ``length`` bytes of a Data-Out's data segment belong, with the command; or None: no command has a place."""
    command = conn.commands.get(pdu.itt)
    offset = pdu.word(40)
    if command is not None and _sequence_of(command, pdu.ttt) is not None and offset + length <= command.wanted:
        return memoryview(command.buffer)[offset : offset + length], command
    return None, None


def _sequence_of(command: ScsiCommand | None, ttt: int) -> Sequence | None:
    for sequence in command.sequences if command is not None else ():
        if sequence.ttt == ttt:
            return sequence
    return None


def _go_on(command: ScsiCommand) -> None:
    """Execute a command whose data is all there, or ask for more of it, unless more comes unasked."""
    conn = command.conn
    session = conn.session
    assert session is not None
    if command.received >= command.wanted and not command.sequences:
        command.data_out = memoryview(command.buffer)[: command.wanted]
        command.execute()
        return
    if any(sequence.ttt == RESERVED_TAG for sequence in command.sequences):
        return
    parameters = session.parameters
    while command.asked < command.wanted and len(command.sequences) < parameters.max_outstanding_r2t:
        length = min(parameters.max_burst_length, command.wanted - command.asked)
        sequence = Sequence(conn.next_ttt(), command.asked, length)
        command.sequences.append(sequence)
        header = ANSWER.pack(
            Opcode.R2T, Flag.FINAL, 0, 0, 0, command.lun_field, command.tag, sequence.ttt, conn.path.statsn,
            conn.path.exp_cmdsn, conn.path.max_cmdsn, command.r2tsn, sequence.offset, length,
        )  # fmt: skip
        command.r2tsn += 1
        command.asked += length
        if conn.probes.mask & DATA_REQUEST:
            conn.probes.pdu(Probe.DATA_REQUEST, conn.info, command.probe_lun, header)
        _fire(Probe.XFER_START, command, sequence, length)
        conn.out.put(header)


def _fire(probe: Probe, command: ScsiCommand, sequence: Sequence, length: int) -> None:
    """Fire xfer-start or xfer-done of a sequence."""
    conn = command.conn
    mask = conn.probes.mask
    if mask & (XFER_START | XFER_DONE) and not sequence.address and command.wanted > sequence.offset:
        sequence.address = address_of(memoryview(command.buffer)[sequence.offset :])
    if mask >> probe & 1:
        conn.probes.xfer(
            probe, conn.info, command.probe_lun, command.tag, sequence.ttt, sequence.address, sequence.offset, length,
            XFER_WRITE,
        )  # fmt: skip
