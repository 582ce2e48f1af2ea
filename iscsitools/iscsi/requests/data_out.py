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
from iscsitools.probes.sites import DATA_REQUEST, FIRED_TRANSFER, XFER_DONE, XFER_START, XFER_WRITE
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import ANSWER, RESERVED_TAG, SERIAL_MASK, Fault, Flag, Opcode, Pdu
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.login.negotiation import Parameters
    from iscsitools.iscsi.requests.command import Command


@dataclass(slots=True)
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


class Incoming:
    """The data-out of one command. ``want`` bytes go to the device server, what comes beyond them goes nowhere.

    ``taking``: from :func:`begin` until the command ends. Else there is no buffer, and all that comes goes nowhere.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.taking = False
        self.buffer = bytearray()
        self.view = memoryview(self.buffer)
        self.want = 0
        self.received = 0
        self.asked = 0
        self.r2tsn = 0
        self.unsolicited: Sequence | None = None
        self.solicited: dict[int, Sequence] = {}

    def take(self, buffer: bytearray, want: int) -> None:
        """Keep what comes in ``buffer``."""
        self.taking = True
        self.buffer = buffer
        self.view = memoryview(buffer)
        self.want = want

    @property
    def open(self) -> list[Sequence]:
        """The sequences of which data is still to come."""
        return [*([self.unsolicited] if self.unsolicited is not None else ()), *self.solicited.values()]

    def end(self) -> None:
        """The command ends: its transfers end with what has come. Sequences with bytes to come stay open."""
        for sequence in self.open:
            if self.taking:
                self.fire(Probe.XFER_DONE, sequence, sequence.received)
            if sequence.received >= sequence.length:
                self.close(sequence)
        self.taking = False

    def skip(self, sequence: Sequence, pdu: Pdu) -> None:
        """Count a Data-Out that is thrown away. Behind its F bit, or the last byte, no more of the sequence comes."""
        sequence.received += pdu.word(4) & 0xFFFFFF
        if pdu.flags & Flag.FINAL or sequence.received >= sequence.length:
            self.close(sequence)

    def close(self, sequence: Sequence) -> None:
        """Nothing more of a sequence comes."""
        if sequence.ttt == RESERVED_TAG:
            self.unsolicited = None
        else:
            self.solicited.pop(sequence.ttt, None)

    def recycle(self) -> None:
        """Give the buffer back, unless bytes are being received into it at this moment."""
        conn = self.command.conn
        if conn.still_receives(self.command, self.want):
            self.want = 0
        elif self.buffer:
            conn.buffers.give(self.buffer)
        conn.memory.release(self.want)
        self.buffer = bytearray()
        self.view = memoryview(b"")
        self.want = 0

    def fire(self, probe: Probe, sequence: Sequence, length: int) -> None:
        """Fire xfer-start or xfer-done of a sequence."""
        conn = self.command.conn
        mask = conn.probes.mask
        if mask & (XFER_START | XFER_DONE) and not sequence.address and self.want > sequence.offset:
            sequence.address = address_of(self.view[sequence.offset :])
        if mask >> probe & 1:
            conn.probes.xfer(
                probe, conn.info, self.command.number, self.command.itt, sequence.ttt, sequence.address,
                sequence.offset, length, XFER_WRITE,
            )  # fmt: skip

    def store(self, offset: int, data: memoryview) -> None:
        """Keep received bytes, unless they were received in place."""
        end = min(offset + len(data), self.want)
        if end > offset and data.obj is not self.buffer:
            self.view[offset:end] = data[: end - offset]


def expect(command: Command, parameters: Parameters, pdu: Pdu) -> Incoming:
    """What comes behind a command that writes: an unsolicited sequence, if one was agreed on and its F bit says so."""
    incoming = Incoming(command)
    if not pdu.flags & Flag.FINAL and not parameters.initial_r2t:
        limit = min(command.edtl, parameters.first_burst_length)
        incoming.unsolicited = Sequence(RESERVED_TAG, 0, limit, pdu.word(4) & 0xFFFFFF)
    return incoming


def begin(command: Command, incoming: Incoming, pdu: Pdu, want: int) -> None:
    """Take a command's immediate data and get the rest of its ``want`` bytes, then execute it."""
    conn = command.conn
    if not conn.memory.reserve(want):
        command.fail(0, status=Status.BUSY)
        return
    received = pdu.data.obj
    adopted = isinstance(received, bytearray) and received is not conn.buffers.receive and len(received) >= want
    buffer = received if adopted and isinstance(received, bytearray) else conn.buffers.take(max(want, 1))
    incoming.take(buffer, want)
    immediate = len(pdu.data)
    incoming.store(0, pdu.data)
    incoming.received = immediate
    if incoming.unsolicited is not None:
        incoming.fire(Probe.XFER_START, incoming.unsolicited, incoming.unsolicited.length)
    elif immediate and pdu.fired != FIRED_TRANSFER:
        whole = Sequence(RESERVED_TAG, 0, immediate)
        incoming.fire(Probe.XFER_START, whole, immediate)
        incoming.fire(Probe.XFER_DONE, whole, immediate)
    incoming.asked = incoming.received
    _go_on(conn, command, incoming)


def data_out(conn: Connection, pdu: Pdu) -> None:
    """Take a Data-Out PDU (RFC 7143 11.7). One that belongs to no task is thrown away: its task has ended.

    When its data was corrupted, its task cannot be completed (7.8). What its header says holds all the same: the F bit
    in it does not come again.
    """
    command = conn.commands.get(pdu.itt)
    incoming = command.incoming if command is not None else None
    sequence = _sequence_of(incoming, pdu.ttt)
    if command is None or incoming is None or sequence is None:
        return  # a task that has all its data may be running, and its buffer in use
    if not incoming.taking:
        incoming.skip(sequence, pdu)
        command.answer_if_all_came()
        return
    if pdu.fault is Fault.NO_MEMORY:
        incoming.end()
        incoming.skip(sequence, pdu)
        command.fail(0, status=Status.BUSY)
        return
    asc = Asc.PROTOCOL_SERVICE_CRC_ERROR if pdu.fault else _error_of(sequence, pdu)
    if asc:
        incoming.end()
        incoming.skip(sequence, pdu)
        command.fail(asc)
    else:
        _take(conn, command, incoming, sequence, pdu)


def _error_of(sequence: Sequence, pdu: Pdu) -> int:
    """What is wrong with a sequence's next PDU, as ASC << 8 | ASCQ; 0 when it goes on as it should."""
    if pdu.word(36) != sequence.datasn or pdu.word(40) != sequence.offset + sequence.received:
        return Asc.DATA_PHASE_ERROR
    at_end = sequence.received + len(pdu.data)
    short = pdu.flags & Flag.FINAL and sequence.ttt != RESERVED_TAG and at_end < sequence.length
    return Asc.INCORRECT_AMOUNT_OF_DATA if short or at_end > sequence.length else 0


def _take(conn: Connection, command: Command, incoming: Incoming, sequence: Sequence, pdu: Pdu) -> None:
    """Take a sequence's next PDU, and go on when it is the last."""
    incoming.store(pdu.word(40), pdu.data)
    incoming.received += len(pdu.data)
    sequence.received += len(pdu.data)
    sequence.datasn = (sequence.datasn + 1) & SERIAL_MASK
    if pdu.flags & Flag.FINAL or (sequence.ttt != RESERVED_TAG and sequence.received == sequence.length):
        incoming.fire(Probe.XFER_DONE, sequence, sequence.received)
        incoming.close(sequence)
        incoming.asked = max(incoming.asked, incoming.received)
        _go_on(conn, command, incoming)


def place_for(conn: Connection, pdu: Pdu, length: int) -> tuple[memoryview | None, Command | None]:
    """Where ``length`` bytes of a Data-Out's data segment belong, with the command; or None: no command has a place."""
    command = conn.commands.get(pdu.itt)
    incoming = command.incoming if command is not None else None
    offset = pdu.word(40)
    if incoming is not None and _sequence_of(incoming, pdu.ttt) is not None and offset + length <= incoming.want:
        return incoming.view[offset : offset + length], command
    return None, None


def _sequence_of(incoming: Incoming | None, ttt: int) -> Sequence | None:
    if incoming is None:
        return None
    return incoming.unsolicited if ttt == RESERVED_TAG else incoming.solicited.get(ttt)


def _go_on(conn: Connection, command: Command, incoming: Incoming) -> None:
    """Execute a command whose data is all there, or ask for more of it."""
    session = conn.session
    assert session is not None
    assert session.device is not None
    if incoming.unsolicited is not None:
        return
    if incoming.received >= incoming.want:
        command.task.data_out = incoming.view[: incoming.want]
        command.task.execute()
        return
    parameters = session.parameters
    while incoming.asked < incoming.want and len(incoming.solicited) < parameters.max_outstanding_r2t:
        length = min(parameters.max_burst_length, incoming.want - incoming.asked)
        sequence = Sequence(conn.next_ttt(), incoming.asked, length)
        incoming.solicited[sequence.ttt] = sequence
        header = ANSWER.pack(
            Opcode.R2T, Flag.FINAL, 0, 0, 0, command.lun, command.itt, sequence.ttt, conn.path.statsn,
            conn.path.exp_cmdsn, conn.path.max_cmdsn, incoming.r2tsn, sequence.offset, length,
        )  # fmt: skip
        incoming.r2tsn += 1
        incoming.asked += length
        if conn.probes.mask & DATA_REQUEST:
            conn.probes.pdu(Probe.DATA_REQUEST, conn.info, command.number, header)
        incoming.fire(Probe.XFER_START, sequence, length)
        conn.out.put(header)
