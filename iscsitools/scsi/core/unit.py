"""A logical unit: its state, and how its tasks are run."""

from __future__ import annotations

import logging

from iscsitools.backstores.base import Backstore, MediumError, stack_name
from iscsitools.repeats import RepeatLimit
from iscsitools.scsi.commands import COMMANDS, THIN_COMMANDS
from iscsitools.scsi.core.command import Call, Flags, Work
from iscsitools.scsi.core.errors import ScsiError, backstore_error, check_condition, is_protected
from iscsitools.scsi.core.identity import Identity, derive_identity
from iscsitools.scsi.core.itl_nexus import ItlNexus
from iscsitools.scsi.core.job import Job
from iscsitools.scsi.core.options import Limits, UnitOptions
from iscsitools.scsi.core.reservations import Reservations
from iscsitools.scsi.core.task import Executor, Nexus
from iscsitools.scsi.core.task_set import TaskSet
from iscsitools.scsi.sbc.medium import Medium
from iscsitools.scsi.spc.mode_pages import ModePages
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc, SenseKey

__all__ = ["LogicalUnit", "UnitOptions"]

_log = logging.getLogger(__name__)
_log.addFilter(RepeatLimit())


class LogicalUnit:
    """A direct-access block device. ``number``: its unit number; ``store`` is open and stays open.

    All methods belong to the event loop's thread. Only a call's medium work runs elsewhere, when ``store.blocking``.
    """

    def __init__(self, number: int, store: Backstore, executor: Executor, options: UnitOptions) -> None:
        self.number = number
        self.store = store
        self.executor = executor
        self.options = options
        self.block_size = options.block_size
        self.blocks = store.size // options.block_size
        self.limits = Limits.of(options.block_size)
        self.capabilities = capabilities = store.capabilities
        self.thin = options.thin and capabilities.thin
        physical = options.physical_block_size or capabilities.physical_block_size or 4096
        self.commands = THIN_COMMANDS if self.thin else COMMANDS
        self.physical_blocks = max(1, physical // options.block_size)
        derived = derive_identity(options.target, number, store.identity, options.serial, store.own_identity)
        self.identity = Identity(derived.serial, options.naa or derived.naa)
        self.modes = ModePages(options.write_cache, capabilities.volatile_cache)
        self.removed = False
        self.medium = Medium(options.removable)
        self.reservations = Reservations()
        self.itls: dict[Nexus, ItlNexus] = {}
        self.tasks = TaskSet(options.queue_depth, self._start, self.refresh)
        self._failures = object()  # its name among the lines that repeat

    # State

    @property
    def write_cache(self) -> bool:
        """Whether completed writes may still be in a volatile cache: WCE of the Caching mode page."""
        return self.modes.write_cache

    @property
    def write_protected(self) -> bool:
        """Whether anything forbids writing: the option, the backstore, or SWP of the Control mode page."""
        return self.options.readonly or self.modes.software_write_protect or self.capabilities.read_only

    def must_write_through(self, fua: bool) -> bool:
        """Whether a write has to be durable before its status."""
        return self.capabilities.volatile_cache and (fua or not self.write_cache)

    @property
    def unobstructed(self) -> bool:
        """Whether a read needs no look at this unit's state other than reservations and unit attentions."""
        return self.medium.loaded and not self.tasks.barriers and not self.removed

    @property
    def fast_writes(self) -> bool:
        """Whether a plain write goes to the backstore's cache with nothing more to do."""
        return not self.write_protected and not self.must_write_through(fua=False)

    def refresh(self) -> None:
        """Recompute the fast path's gates of every nexus; called after every change of state."""
        for itl in self.itls.values():
            itl.refresh()

    def attention(self, asc: Asc, but: Nexus | None = None) -> None:
        """Queue a unit attention for every nexus, or for all others than ``but``."""
        for nexus, itl in self.itls.items():
            if nexus is not but:
                itl.attention(asc)

    def attach(self, nexus: Nexus) -> ItlNexus:
        """The object of this nexus, made with POWER ON, RESET OR BUS DEVICE RESET OCCURRED pending (SAM-5 6.1)."""
        itl = self.itls.get(nexus)
        if itl is None:
            itl = self.itls[nexus] = ItlNexus(nexus, self)
            itl.attention(Asc.POWER_ON_OR_RESET)
        return itl

    def capacity_changed(self) -> None:
        """Read the backstore's size again; initiators learn of a new one by CAPACITY DATA HAS CHANGED."""
        self._read_capabilities()
        blocks = self.store.size // self.block_size
        if blocks != self.blocks:
            self.blocks = blocks
            self.refresh()
            self.attention(Asc.CAPACITY_DATA_HAS_CHANGED)

    def _read_capabilities(self) -> None:
        """Ask the backstore anew what it is; a device may be set read-only while it is served, and back."""
        self.capabilities = self.store.capabilities
        self.refresh()

    def resize(self, size: int) -> None:
        """Resize the backstore to ``size`` bytes; raises what it raises."""
        self.store.resize(size)
        self.capacity_changed()

    # Tasks

    def check_state(self, call: Call) -> None:
        """Raise when a reservation, the medium or write protection forbids the command now."""
        self.reservations.check(call)
        command = call.command
        if command.needs_medium and not self.medium.loaded:
            raise self.medium.not_ready()
        if command.writes and self.write_protected:
            asc = Asc.SOFTWARE_WRITE_PROTECTED if self.modes.software_write_protect else Asc.WRITE_PROTECTED
            raise check_condition(SenseKey.DATA_PROTECT, asc)

    def end(self, call: Call, error: ScsiError | None = None) -> None:
        """The call is over: its status goes to the transport, and those that waited for it start."""
        task = call.task
        if error is not None:
            task.status, task.sense = error.status, error.sense
            task.data_in = b""
            if error.status != Status.CHECK_CONDITION:
                task.sense = b""
        if task.aborted:
            self._release(call)
        else:
            task.done(task)
        self.tasks.leave(call)

    def abort(self, call: Call) -> None:
        """End a task without status. A thread that works for it keeps its buffers and its place in the task set."""
        call.task.aborted = True
        if not call.started or (call.job is not None and call.job.withdraw()):
            self._release(call)
            self.tasks.leave(call)
        elif call.command.writes:
            self.tasks.fence(call)

    def _release(self, call: Call) -> None:
        if call.task.released is not None:
            call.task.released(call.task)

    def _start(self, call: Call) -> None:
        try:
            if call.waited:
                self.check_state(call)
            work = call.command.run(call)
        except ScsiError as error:
            self.end(call, error)
            return
        except BaseException as error:
            self._failed(call, error)
            return
        if work is None:
            self.end(call)
        elif self.store.blocking:
            job = call.job = Job(call, work, self._worked)
            self.executor.submit(job.run, job.done)
        else:
            self._work_here(call, work)

    def _work_here(self, call: Call, work: Work) -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        self._worked(call, error)

    def _worked(self, call: Call, error: BaseException | None) -> None:
        if error is None:
            if call.result is not None:
                call.task.data_in = call.result
            self.end(call)
        elif isinstance(error, ScsiError):
            self.end(call, error)
        else:
            self._failed(call, error)

    def _failed(self, call: Call, error: BaseException) -> None:
        """Turn what the backstore (or a command's own code) raised into sense data; logged, at a limited rate."""
        kind = type(error)
        _log.error(
            "%s LUN %d, %s: %s failed: %s: %s", self.options.target, self.number, stack_name(self.store),
            call.command.name, kind.__name__, error,
            exc_info=None if isinstance(error, OSError | MediumError) else error,
            extra={"repeats": (self._failures, call.command.name, kind, getattr(error, "errno", 0))},
        )  # fmt: skip
        reads = Flags.READS in call.command.flags  # a flush that fails has lost writes
        answer = backstore_error(error, call.lba, self.block_size, writes=not reads)
        if is_protected(error):
            self._read_capabilities()
        self.end(call, answer)
