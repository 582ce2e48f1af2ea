"""SCSI commands off the fast path, from the PDU to the task's result.

Data-out arrives in :mod:`.data_out`; what the initiator is told is made in :mod:`.responses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.errors import RejectError
from iscsitools.iscsi.requests import data_out, responses
from iscsitools.probes.lun import probe_lun, unit_number
from iscsitools.scsi.core.options import MAX_TRANSFER
from iscsitools.scsi.core.sense import fixed_sense
from iscsitools.scsi.core.task import Task
from iscsitools.wire.rfc7143 import RESERVED_TAG, Fault, Flag, Pdu, RejectReason, split_ahs
from iscsitools.wire.scsi import Attribute, ManagementFunction, Status
from iscsitools.wire.sense import SenseKey

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.session.session import Session

_AHS_EXTENDED_CDB: Final = 1
_CDB_LENGTHS: Final = (6, 10, 10, 16, 16, 12, 16, 16)


def cdb_of(pdu: Pdu) -> bytes:
    """The CDB: as long as its opcode's group says, or 16 bytes and the extended part (RFC 7143 11.2.2.3).

    Raises ValueError when the additional header segments are malformed.
    """
    for kind, content in split_ahs(pdu.ahs):
        if kind == _AHS_EXTENDED_CDB:
            return pdu.bhs[32:48] + content[1:]
    return pdu.bhs[32 : 32 + _CDB_LENGTHS[pdu.bhs[32] >> 5]]


class _Task(Task):
    """The task of a command, which hears what becomes of it."""

    __slots__ = ("owner",)
    owner: Command

    def done(self) -> None:
        """The device server has a status."""
        self.owner.done()

    def released(self) -> None:
        """It was aborted, and its buffers are free."""
        self.owner.released()

    def dropped(self) -> None:
        """It was ended without a status."""
        self.owner.drop()


class Command:
    """One SCSI command of one connection, until its answer has been put into the output.

    ``number``: its LUN for probes (``probes.lun``). ``incoming``: its data-out, None when it writes nothing.
    ``waits``: its task has ended, has left the task set and holds no buffer, but its response waits for data that the
    initiator still sends (RFC 7143 11.4.2). For the initiator it is a task as before: its tag is taken, and it can be
    aborted.
    """

    __slots__ = ("conn", "edtl", "incoming", "itt", "lun", "number", "reserved", "started", "task", "waits")

    def __init__(self, conn: Connection, session: Session, pdu: Pdu, cdb: bytes) -> None:
        flags = pdu.flags
        self.conn = conn
        self.itt = pdu.itt
        self.lun = pdu.lun
        self.edtl = pdu.word(20)
        self.started = pdu.now
        self.reserved = 0
        self.waits = False
        self.number = probe_lun(pdu.lun)
        assert session.nexus is not None
        self.task = _Task(
            session.nexus,
            unit_number(pdu.lun),
            self.itt,
            cdb,
            attribute=min(flags & 7, Attribute.ACA),
            edtl=self.edtl if flags & (Flag.READ | Flag.WRITE) else 0,
            reads=bool(flags & Flag.READ),
            writes=bool(flags & Flag.WRITE),
        )
        self.incoming = data_out.expect(self, session.parameters, pdu) if self.task.writes else None
        self.task.owner = self

    def done(self) -> None:
        """The device server has a status: put the answer into the output (called on the loop's thread).

        It waits while data is to come. No more than a window of commands wait, so that an initiator which never sends
        the data cannot have more and more of them; the others are answered at once.
        """
        conn, session = self.conn, self.conn.session
        if conn.commands.get(self.itt) is not self:
            return
        assert session is not None
        if self.incoming is not None:
            self.incoming.end()
            if self.incoming.open and conn.waiting < session.window:
                self.waits = True
                conn.waiting += 1
                self.released()
                return
        self._answer()

    def answer_if_all_came(self) -> None:
        """Put the answer that waited into the output, once no more data is to come."""
        if self.waits and self.incoming is not None and not self.incoming.open:
            self._answer()

    def _answer(self) -> None:
        task, conn = self.task, self.conn
        self.drop()
        if task.status == Status.GOOD and len(task.data_in) and self.edtl and task.reads:
            responses.send_data(self)
        else:
            responses.send_response(self)
        self.released()
        conn.wake(conn)

    def released(self) -> None:
        """Nothing uses the task's buffers any more: they may be used again."""
        if self.incoming is not None:
            self.incoming.recycle()
        self.conn.memory.release(self.reserved)
        self.reserved = 0

    def drop(self) -> None:
        """Forget the command: it has been answered, or something ended it without an answer."""
        if self.conn.commands.get(self.itt) is self:
            del self.conn.commands[self.itt]
            self.conn.path.tags.discard(self.itt)
        if self.waits:
            self.waits = False
            self.conn.waiting -= 1
        if self.incoming is not None:
            self.incoming.end()

    def abort(self) -> None:
        """Take the task back from the device server and forget it, without an answer."""
        self._take_back()
        self.drop()

    def _take_back(self) -> None:
        task, session = self.task, self.conn.session
        if task.accepted and session is not None and session.device is not None:
            session.device.manage(ManagementFunction.ABORT_TASK, task.nexus, task.lun, task.tag)
        else:
            self.released()

    def fail(self, asc: int, key: SenseKey = SenseKey.ABORTED_COMMAND, status: int = Status.CHECK_CONDITION) -> None:
        """End a command that waits for data-out, with the transport's own sense data (RFC 7143 11.4.7.2)."""
        task = self.task
        self._take_back()
        task.status = status
        task.sense = fixed_sense(key, asc) if status == Status.CHECK_CONDITION else b""
        self.done()


def start(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Take a SCSI Command whose turn it is. Raises RejectError for one that is malformed."""
    conn.path.commands += 1
    itt = pdu.itt
    if itt in conn.commands:
        raise RejectError(RejectReason.TASK_IN_PROGRESS, f"a task with tag {itt:#x} is there already")
    if itt == RESERVED_TAG:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "the reserved task tag in a command")
    try:
        cdb = cdb_of(pdu)
    except ValueError as error:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, str(error)) from None
    device = session.device
    assert device is not None
    command = Command(conn, session, pdu, cdb)
    conn.commands[itt] = command
    conn.path.tags.add(itt)
    if pdu.fault is Fault.NO_MEMORY:
        command.fail(0, status=Status.BUSY)
        return
    surplus = data_out.unsolicited_error(session.parameters, pdu)
    if surplus:
        command.fail(surplus)
        return
    task = command.task
    itl = device.itl(task.nexus, task.lun)
    if itl is not None:
        conn.path.open_gate(command.lun, itl.gate)
    if task.reads:
        wanted = min(command.edtl, MAX_TRANSFER)
        if not conn.memory.reserve(wanted):
            command.fail(0, status=Status.BUSY)
            return
        command.reserved = wanted
    if not device.accept(task):
        return
    incoming = command.incoming
    take = min(command.edtl, task.data_out_length)
    if incoming is not None and (take or not pdu.flags & Flag.FINAL):
        data_out.begin(command, incoming, pdu, take)
    else:
        task.execute()
