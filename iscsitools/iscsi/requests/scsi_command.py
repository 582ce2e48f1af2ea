"""SCSI commands off the data path, from the PDU to the answer: each is one object, the device server's task.

Its data-out arrives in :mod:`.data_out`; what the initiator is told is made in :mod:`.responses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.errors import RejectError
from iscsitools.iscsi.requests import data_out, responses
from iscsitools.probes.lun import probe_lun, unit_number
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import MAX_TRANSFER
from iscsitools.scsi.core.sense import fixed_sense
from iscsitools.scsi.core.task import Task
from iscsitools.wire.rfc7143 import RESERVED_TAG, Fault, Flag, Pdu, RejectReason, split_ahs
from iscsitools.wire.scsi import Attribute, ManagementFunction, Status
from iscsitools.wire.sense import Asc, SenseKey

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.requests.data_out import Sequence
    from iscsitools.iscsi.session.session import Session

_AHS_EXTENDED_CDB: Final = 1
_CDB_LENGTHS: Final = (6, 10, 10, 16, 16, 12, 16, 16)
_WORK_PER_BYTE: Final = 4
"""Bytes of blocks that take as much of a turn as one byte of output: VERIFY of 1 MiB in memory took 80 us."""
_NO_ERROR: Final = (Status.GOOD, Status.CONDITION_MET)
_NO_BUFFER: Final = bytearray()
_FROM_STOCK: Final = 128 << 10
"""Bytes from which on the C library asks the system for memory, and gives it back (``server/allocator.py``)."""


def cdb_of(pdu: Pdu) -> bytes:
    """The CDB: as long as its opcode's group says, or 16 bytes and the extended part (RFC 7143 11.2.2.3).

    Raises ValueError when the additional header segments are malformed.
    """
    for kind, content in split_ahs(pdu.ahs):
        if kind == _AHS_EXTENDED_CDB:
            return pdu.bhs[32:48] + content[1:]
    return pdu.bhs[32 : 32 + _CDB_LENGTHS[pdu.bhs[32] >> 5]]


class ScsiCommand(Task):
    """One SCSI command of one connection, until its answer has been put into the output; ``tag`` is its ITT.

    ``lun_field``: the LUN as it came, 8 bytes; ``probe_lun``: as the probes have it. ``reserved``: bytes in the account
    for its data-in; ``lent``: memory of the stock that it is read into. ``waits``: the task has ended, has left the
    task set and holds no buffer, but its response waits for data that the initiator still sends (RFC 7143 11.4.2). For
    the initiator it is a task as before: its tag is taken, and it can be aborted.

    Of its data-out, ``wanted`` bytes go to the device server and lie in ``buffer``; what comes beyond them goes
    nowhere. ``sequences``: those of which data is still to come, until ``data_by`` (monotonic nanoseconds).
    ``taking``: from :func:`data_out.begin` until the command ends; else there is no buffer, and all that comes goes
    nowhere. ``received`` bytes have come, ``asked`` have been asked for by now, by ``r2tsn`` R2Ts.
    """

    __slots__ = (
        "asked", "buffer", "conn", "data_by", "lent", "lun_field", "probe_lun", "r2tsn", "received", "reserved",
        "sequences", "taking", "waits", "wanted",
    )  # fmt: skip

    def __init__(self, conn: Connection, nexus: Nexus, pdu: Pdu, cdb: bytes) -> None:
        flags, lun = pdu.flags, pdu.lun
        number = nexus.unit_of(unit_number(lun))
        super().__init__(
            nexus, number, pdu.itt, cdb, flags & 7, pdu.word(20) if flags & (Flag.READ | Flag.WRITE) else 0,
            bool(flags & Flag.READ), bool(flags & Flag.WRITE),
        )  # fmt: skip
        self.conn = conn
        self.lun_field = lun
        self.probe_lun = number if number >= 0 else probe_lun(lun)
        self.reserved = 0
        self.lent: bytearray | None = None
        self.waits = False
        self.taking = False
        self.buffer = _NO_BUFFER
        self.wanted = self.received = self.asked = self.r2tsn = 0
        self.sequences: list[Sequence] = []
        self.data_by = pdu.now + conn.timers.data_out

    # What the device server tells (see Task)

    def done(self) -> None:
        """The device server has a status: put the answer into the output.

        It waits while data is to come. No more than a window of commands wait, so that an initiator which never sends
        the data cannot have more and more of them; the others are answered at once.
        """
        conn = self.conn
        if conn.commands.get(self.tag) is not self:
            return
        data_out.end(self)
        if self.sequences and conn.waiting < conn.path.window:
            self.waits = True
            conn.waiting += 1
            self.released()
        else:
            self._answer()

    def released(self) -> None:
        """Nothing uses the task's buffers any more: they may be used again, unless bytes are arriving just now."""
        conn, buffer = self.conn, self.buffer
        held, self.buffer, self.wanted = self.wanted, _NO_BUFFER, 0
        if conn.still_receives(self, held):
            held = 0
        elif buffer is not _NO_BUFFER:
            conn.buffers.give(buffer)
        conn.memory.release(held + self.reserved)
        self.reserved = 0
        if self.lent is not None:
            conn.buffers.give(self.lent)
            self.lent = None

    def memory_for(self, length: int) -> bytearray:
        """Memory for data-in: long ones of the stock. Measured: with fresh ones a READ of 1 MiB takes twice the CPU."""
        if length < _FROM_STOCK:
            return bytearray(length)
        self.lent = self.conn.buffers.take(length)
        return self.lent

    def dropped(self) -> None:
        """Forget the command: it has been answered, or something ended it without an answer."""
        conn = self.conn
        if conn.commands.get(self.tag) is self:
            del conn.commands[self.tag]
            conn.path.tags.discard(self.tag)
        if self.waits:
            self.waits = False
            conn.waiting -= 1
        data_out.end(self)

    # The transport's own

    def answer_if_all_came(self) -> None:
        """Put the answer that waited into the output, once no more data is to come."""
        if self.waits and not self.sequences:
            self._answer()

    def _answer(self) -> None:
        self.dropped()
        if self.status not in _NO_ERROR and self.conn.session is not None:
            self.conn.session.errors += 1
        if self.status == Status.GOOD and len(self.data_in) and self.edtl and self.reads:
            responses.send_data(self)
        else:
            responses.send_response(self)
        self.released()
        self.conn.wake(self.conn)

    def abort(self) -> None:
        """Take the task back from the device server and forget it, without an answer."""
        self._take_back()
        self.dropped()

    def _take_back(self) -> None:
        session = self.conn.session
        if self.accepted and session is not None and session.device is not None:
            session.device.manage(ManagementFunction.ABORT_TASK, self.nexus, self.lun, self.tag)
        else:
            self.released()

    def fail(self, asc: int, status: int = Status.CHECK_CONDITION) -> None:
        """End a command that waits for data-out, with the transport's own sense data (RFC 7143 11.4.7.2)."""
        self._take_back()
        self.status = status
        self.sense = fixed_sense(SenseKey.ABORTED_COMMAND, asc) if status == Status.CHECK_CONDITION else b""
        self.done()

    def execute(self) -> None:
        """All data-out is there. What the device server does at once is part of this turn's budget."""
        super().execute()
        self.conn.spend(self.cost)

    def give_up_data(self) -> None:
        """The data that was to come does not come in time: the command ends, and its response waits no longer."""
        data_out.end(self)
        self.sequences.clear()
        if self.waits:
            self._answer()
        else:
            self.fail(Asc.INITIATOR_RESPONSE_TIMEOUT)


def start(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Take a SCSI Command whose turn it is. Raises RejectError for one that is malformed."""
    conn.path.commands += 1
    device, nexus = session.device, session.nexus
    assert device is not None
    assert nexus is not None
    command = ScsiCommand(conn, nexus, pdu, _checked_cdb(conn, pdu))
    conn.commands[command.tag] = command
    conn.path.tags.add(command.tag)
    if command.writes:
        data_out.expect(command, session.parameters, pdu)
    if pdu.fault is Fault.NO_MEMORY:
        command.fail(0, Status.BUSY)
        return
    surplus = data_out.unsolicited_error(session.parameters, pdu)
    if surplus:
        command.fail(surplus)
        return
    if command.reads:
        wanted = min(command.edtl, MAX_TRANSFER)
        if not conn.memory.reserve(wanted):
            command.fail(0, Status.BUSY)
            return
        command.reserved = wanted
    itl_nexus = device.itl_nexus(nexus, command.lun)
    if itl_nexus is not None:
        conn.path.open_gate(command.lun_field, itl_nexus.gate)
    if not device.accept(command):
        return
    unit = command.unit
    if not unit.store.blocking:  # it is done here, in this turn
        conn.spend(command.blocks * unit.block_size // _WORK_PER_BYTE)
    take = min(command.edtl, command.data_out_length) if command.writes else 0
    if command.writes and (take or command.sequences):
        data_out.begin(command, pdu, take)
    else:
        command.execute()


def _checked_cdb(conn: Connection, pdu: Pdu) -> bytes:
    """The CDB of a command whose header is as it should be; raises RejectError for another."""
    if pdu.itt in conn.commands:
        raise RejectError(RejectReason.TASK_IN_PROGRESS, f"a task with tag {pdu.itt:#x} is there already")
    if pdu.itt == RESERVED_TAG:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "the reserved task tag in a command")
    if pdu.flags & 7 > Attribute.ACA:  # 5 to 7 are reserved (RFC 7143 11.3.1)
        raise RejectError(RejectReason.INVALID_PDU_FIELD, f"the reserved task attribute {pdu.flags & 7}")
    try:
        return cdb_of(pdu)
    except ValueError as error:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, str(error)) from None
