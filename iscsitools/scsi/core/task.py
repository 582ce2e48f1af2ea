"""The boundary of the SCSI device server: one command, from the transport to the backstore and back.

A transport makes a :class:`~iscsitools.scsi.core.nexus.Nexus` for each session, and an object of its own subclass of
:class:`Task` for each command. It hands the task to ``ScsiDevice.accept``, brings the data-out that ``accept`` asked
for, calls :meth:`Task.execute`, and gets :meth:`Task.done`, perhaps later, on the same thread. Nothing here knows which
transport it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from iscsitools.backstores.asynchronous import read_request, write_request
from iscsitools.backstores.base import Request
from iscsitools.scsi.core.cdb import Buffer
from iscsitools.scsi.core.errors import ScsiError, parameter_list_length_error
from iscsitools.scsi.core.executor import PIECE, Elsewhere
from iscsitools.scsi.core.medium_work import WorkingTask, nothing_to_withdraw
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.unit_state import ItlNexus
from iscsitools.wire.scsi import Attribute, Status

_NOTHING: Final = memoryview(b"")


class Task(WorkingTask):
    """One command on its way through the device server.

    ``lun``: unit number, already decoded from its 8 bytes and mapped (``Nexus.unit_of``); -1 when they name no unit
    that can exist, or none that the nexus sees. ``tag``: the
    transport's name of the task, unique in its nexus. ``edtl``: bytes that the initiator expects to move, of the
    direction that ``reads``/``writes`` say (both False: none).

    The transport sets ``data_out`` before it calls execute(). ``accept`` sets ``unit``, ``itl_nexus``, ``command``,
    ``data_out_length`` (bytes of data-out that the command takes; the transport brings min(edtl, this)) and
    ``transfer_length`` (bytes that the CDB asked to move, for the residual count, RFC 7143 11.4.5; -1: as much as was
    moved). The result is ``status``, ``sense`` (fixed-format sense data, when status is CHECK CONDITION) and
    ``data_in``: what the command returned, whole, before truncation to ``edtl``; the buffer is the transport's until
    sent.
    """

    __slots__ = (
        "accepted", "cdb", "cost", "data_out", "data_out_length", "edtl", "generation", "itl_nexus", "lun", "reads",
        "sense", "status", "tag", "transfer_length", "writes",
    )  # fmt: skip
    itl_nexus: ItlNexus

    def __init__(
        self, nexus: Nexus, lun: int, tag: int, cdb: bytes, attribute: int = Attribute.SIMPLE, edtl: int = 0,
        reads: bool = False, writes: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(nexus, attribute)
        self.lun = lun
        self.tag = tag
        self.cdb = cdb
        self.edtl = edtl
        self.reads = reads
        self.writes = writes
        self.data_out_length = 0
        self.transfer_length = -1
        self.generation = 0
        self.cost = 0
        """Bytes that were worked on while execute() was called, for the caller's budget."""
        self.accepted = False
        """It is in a task set, or was: a task management function finds it there."""
        self.data_out = _NOTHING
        self.status: int = Status.GOOD
        self.sense = b""
        self.data_in = b""
        self.result = None
        self.withdraw = nothing_to_withdraw

    # The transport's side

    def done(self) -> None:
        """The status is known. Called once, on the loop's thread, but not for a task that was aborted."""
        raise NotImplementedError  # abstract

    def released(self) -> None:
        """The task was aborted, and nothing uses ``data_out`` and ``data_in`` any more. Called once.

        That is before ``manage`` or ``detach`` returns when no thread is at work for the task, else when that thread's
        call has returned; until then the transport leaves the buffers alone.
        """
        raise NotImplementedError  # abstract

    def memory_for(self, length: int) -> bytearray:
        """Memory for at least ``length`` bytes of data-in, of undefined content: all of it is read into."""
        return bytearray(length)

    # For commands

    def reply(self, data: Buffer, allocation_length: int) -> None:
        """Return ``data`` as data-in, truncated to the CDB's ALLOCATION LENGTH (SPC-4 4.2.5.6)."""
        self.data_in = data[:allocation_length]

    def take(self, length: int) -> None:
        """Ask for ``length`` bytes of data-out."""
        self.data_out_length = self.transfer_length = length

    def parameters(self) -> memoryview:
        """The parameter list, which must have come whole: else PARAMETER LIST LENGTH ERROR."""
        data = self.data_out
        if len(data) < self.data_out_length:
            raise parameter_list_length_error()
        return data[: self.data_out_length]

    # Running

    def check(self) -> None:
        """Raise ScsiError when the unit's state, or a field of the CDB, forbids the command now."""
        unit = self.unit
        self.generation = unit.generation
        unit.check_state(self.command, self.cdb, self.nexus)
        self.command.check(self)

    def execute(self) -> None:
        """Run, once the task set lets it; all the data-out is there. ``done`` is called now or later."""
        if self.aborted:
            return
        try:
            if self.generation != self.unit.generation:
                self.check()
            self.command.locate(self)
        except ScsiError as error:
            self._end(error)
            return
        self.unit.tasks.data_is_there(self)

    def start(self) -> None:
        """Run: it is this task's turn.

        What the command may do is decided now: if the unit's state has changed since it was accepted, or since its
        data came, everything is checked again.
        """
        unit = self.unit
        self.cost = min(self.blocks * unit.block_size, PIECE)
        try:
            if self.generation != unit.generation:
                self.check()
            work = self.command.run(self)
        except ScsiError as error:
            self._end(error)
        except BaseException as error:
            self._end(unit.answer(self, error))
        else:
            if work is None:
                self._end()
            elif isinstance(work, Elsewhere):
                unit.tasks.is_at_work(self)
                withdraw = work.executor.submit(work.call, self._worked)
                if work.withdrawable:
                    self.withdraw = withdraw
            elif unit.store.blocking:
                self._hand_over(work)
            elif not isinstance(work, Iterator):
                self._call(work)
            elif unit.tasks.at_work:  # who works already has the next step
                self.cost = 0
                unit.tasks.is_at_work(self)
                unit.executor.resume(partial(self._step, work))
            else:
                self._step(work)

    def go_on(self, data: bytes | None, durable: bool) -> Request:
        """It was accepted while a data path has its blocks read or written already: the request that stands for that.

        ``data``: what is written, ``durable`` or not; None: it reads, and the request's buffer gets what was read.
        """
        unit = self.unit
        offset, length = self.lba * unit.block_size, self.blocks * unit.block_size
        if data is None:
            buffer = memoryview(bytearray(length))
            self.data_in = buffer
            request = read_request(offset, buffer)
        else:
            request = write_request(offset, memoryview(data), durable)
        unit.tasks.is_under_way(self)
        unit.executor.expect(request, self._worked)
        return request

    def _end(self, error: ScsiError | None = None) -> None:
        """The status goes to the transport, and those that waited for this task start."""
        if error is not None:
            self.refuse(error)
        if self.aborted:
            self.released()
        else:
            self.done()
        self.unit.tasks.leave(self)

    def refuse(self, error: ScsiError) -> None:
        """Set the status and sense data of an error."""
        self.status = error.status
        self.sense = error.sense if error.status == Status.CHECK_CONDITION else b""
        self.data_in = b""

    def end_without_status(self) -> None:
        """It was aborted. A thread that works for it keeps its buffers and its place in the task set until it returns.

        Between two steps on the loop nothing uses them, but the step that has been asked for will come.
        """
        if not self.started or self.withdraw():
            self.withdraw = nothing_to_withdraw
            self.released()
            self.unit.tasks.leave(self)
