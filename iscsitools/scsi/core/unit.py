"""A logical unit: which nexuses it has, what it keeps, and what happens to it as a whole.

Whether a command may run is decided in :mod:`iscsitools.scsi.core.unit_state`. Which commands there are, and what state
they keep, is handed in as a CommandSet; how a task runs stands in :mod:`iscsitools.scsi.core.task`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol, Self, TypeVar

from iscsitools.backstores.base import Backstore, MediumError, stack_name
from iscsitools.repeats import RepeatLimit
from iscsitools.scsi.core.command import CommandSet, CommandTable, Flags
from iscsitools.scsi.core.domain import Domain, DomainMember
from iscsitools.scsi.core.errors import ScsiError, backstore_error, illegal_request, is_protected
from iscsitools.scsi.core.executor import Executor, InlineExecutor
from iscsitools.scsi.core.identity import Identity, derive_identity
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import TransferLimits, UnitOptions
from iscsitools.scsi.core.place import Place
from iscsitools.scsi.core.registrations import Port
from iscsitools.scsi.core.task_set import QueuedTask
from iscsitools.scsi.core.thresholds import Threshold
from iscsitools.scsi.core.unit_state import ItlNexus, UnitState
from iscsitools.wire.sense import Asc

_log = logging.getLogger(__name__)
_log.addFilter(RepeatLimit())
_PartT = TypeVar("_PartT", bound="Part")


class AtomicWriter(Protocol):
    """Writes blocks so that a power cut leaves all of them or none, in a thread that may wait."""

    longest: int
    """Bytes of one write at most."""

    def write(self, store: Backstore, offset: int, data: memoryview) -> None:
        """Write, durably; raises what the store raises, and OSError."""


class LogicalUnit(UnitState):
    """A direct-access block device.

    All methods belong to the event loop's thread. Only a task's medium work runs elsewhere, when ``store.blocking``.
    """

    def __init__(
        self, number: int, store: Backstore, executor: Executor, options: UnitOptions, commands: CommandSet
    ) -> None:
        super().__init__(number, store, executor, options)
        self.limits = TransferLimits.of(options.block_size)
        self.thin = options.thin and self.capabilities.thin
        physical = options.physical_block_size or self.capabilities.physical_block_size or 4096
        self.physical_blocks = max(1, physical // options.block_size)
        self.commands = commands.thin if self.thin else commands.fully_provisioned
        if self.capabilities.crypto_erase:
            self.commands = CommandTable([*self.commands, *commands.encrypted])
        self._atomic_commands = commands.atomic
        self.atomic: AtomicWriter | None = None
        """What makes writes atomic through a power cut; None: nothing does, so there is no such command."""
        derived = derive_identity(options.target, number, store.identity, options.serial, store.own_identity)
        self.identity = Identity(derived.serial, options.naa or derived.naa)
        self.counts_space = self.thin and store.space() is not None
        """Whether it is known what the unit takes of its medium and what is left, so that there can be thresholds."""
        self.thresholds: tuple[Threshold, ...] = ()
        """Those that are enabled, by the mode pages."""
        self.end_of_resize: int | None = None
        """While a resize is under way, in another thread: the blocks that it leaves."""
        self.failures: Counter[str] = Counter()
        """How often a command of that name failed because the backstore did."""
        self._failures = object()  # its name among the lines that repeat
        self._join_nothing()
        self._parts: dict[type, Part] = {}
        for make in commands.parts:
            part = make(self)
            self._parts[type(part)] = part

    def _join_nothing(self) -> None:
        """It stands alone, until a device and a server put theirs here."""
        self.siblings: dict[int, LogicalUnit] = {self.number: self}
        """All units of its device, by number; the device puts its own dictionary here."""
        self.domain = Domain()
        """The server's, once it is in a device."""
        self.device: DomainMember | None = None
        self.reservation_place: Place | None = None
        """Where registrations can be kept; None: nowhere, so PTPL_C is 0."""
        self.later: Callable[[float, Callable[[], None]], object] = lambda _seconds, call: call()
        """Calls on the loop's thread so many seconds later."""
        self.clock: Callable[[], int] = lambda: 0
        """Milliseconds since 1970, of the machine that serves it."""
        self.expected: dict[Port, list[Asc]] = {}
        """Nexuses that another process had before this one took over, and their unit attentions."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The state that its commands keep, each kind once."""
        return tuple(self._parts.values())

    def part(self, kind: type[_PartT]) -> _PartT:
        """The state of that kind; raises KeyError when the unit's commands keep none."""
        found = self._parts[kind]
        assert isinstance(found, kind)
        return found

    def take_atomic(self, writer: AtomicWriter) -> None:
        """Write atomically by this from now on. Called before the unit is served."""
        if self.atomic is None:
            self.commands = CommandTable([*self.commands, *self._atomic_commands])
        self.atomic = writer

    def attach(self, nexus: Nexus) -> ItlNexus:
        """The object of this nexus, made with POWER ON, RESET OR BUS DEVICE RESET OCCURRED pending (SAM-5 6.1).

        One that was lost because another process took over finds I_T NEXUS LOSS OCCURRED and what was pending before:
        nothing was reset (SPC-4 table 44).
        """
        itl_nexus = self.itl_nexuses.get(nexus)
        if itl_nexus is None:
            itl_nexus = self.itl_nexuses[nexus] = ItlNexus(nexus, self)
            known = self.expected.pop(Port.of(nexus), None)
            for asc in [Asc.POWER_ON_OR_RESET] if known is None else [Asc.I_T_NEXUS_LOSS, *known]:
                itl_nexus.attention(asc)
        return itl_nexus

    def detach(self, nexus: Nexus) -> list[QueuedTask]:
        """I_T nexus loss (SAM-5 6.3.4): its tasks end without status, its RESERVE and what parts keep for it too.

        Returns the tasks.
        """
        ended = self.tasks.abort(task for task in self.tasks if task.nexus is nexus)
        itl_nexus = self.itl_nexuses.pop(nexus, None)
        if itl_nexus is not None:
            itl_nexus.gate.close()
        for part in self._parts.values():
            part.nexus_lost(nexus)
        if self.reservations.holder is nexus:
            self.reservations.holder = None
            self.refresh()
        return ended

    def reset(self, asc: Asc) -> list[QueuedTask]:
        """Logical unit reset (SAM-5 6.3.3): tasks, RESERVE and parts; a unit attention for every nexus.

        Returns the tasks that it ended.
        """
        ended = self.tasks.abort(self.tasks.all())
        self.reservations.holder = None
        for part in self._parts.values():
            part.reset()
        self.attention(asc)
        self.refresh()
        return ended

    def capacity_changed(self) -> None:
        """Read the backstore's size again; initiators learn of a new one by CAPACITY DATA HAS CHANGED."""
        self.end_of_resize = None
        self.read_capabilities()
        blocks = self.store.size // self.block_size
        if blocks != self.blocks:
            self.blocks = blocks
            self.refresh()
            self.attention(Asc.CAPACITY_DATA_HAS_CHANGED)

    def reopened(self, store: Backstore) -> None:
        """Go on with the same disk, which has been opened anew as another object."""
        self.store = store
        for itl_nexus in self.itl_nexuses.values():
            itl_nexus.gate.close()
            itl_nexus.gate = itl_nexus.new_gate()
        self.read_capabilities()

    def resize(self, size: int, done: Callable[[BaseException | None], None]) -> None:
        """Resize the backstore to ``size`` bytes, tell the initiators, and call ``done`` with what it raised, or None.

        A backstore that blocks does it in a thread: it may have to wait for commands whose ends this thread takes.
        """
        self.resizing(size)

        def finished(error: BaseException | None) -> None:
            self.end_of_resize = None
            if error is None:
                self.capacity_changed()
            done(error)

        executor = self.executor if self.store.blocking else InlineExecutor()
        executor.submit(partial(self.store.resize, size), finished)

    def resizing(self, size: int) -> None:
        """Somebody begins to resize the backstore: what fails from now on beyond the new end is beyond the end."""
        self.end_of_resize = size // self.block_size

    def answer(self, task: QueuedTask, error: BaseException) -> ScsiError:
        """The answer to a command that raised this: a failure, unless the disk became smaller under it."""
        if isinstance(error, OSError | MediumError) and task.blocks:
            last = error.offset // self.block_size if isinstance(error, MediumError) else task.lba + task.blocks - 1
            if last >= (self.blocks if self.end_of_resize is None else min(self.blocks, self.end_of_resize)):
                return illegal_request(Asc.LBA_OUT_OF_RANGE)
        return self.failed(task, error)

    def failed(self, task: QueuedTask, error: BaseException) -> ScsiError:
        """The sense data for what the backstore (or a command's own code) raised; logged, at a limited rate."""
        kind = type(error)
        self.failures[task.command.name] += 1
        _log.error(
            "%s LUN %d, %s: %s failed: %s: %s", self.options.target, self.number, stack_name(self.store),
            task.command.name, kind.__name__, error,
            exc_info=None if isinstance(error, OSError | MediumError) else error,
            extra={"repeats": (self._failures, task.command.name, kind, getattr(error, "errno", 0))},
        )  # fmt: skip
        reads = Flags.READS in task.command.flags  # a flush that fails has lost writes
        answer = backstore_error(error, task.lba, self.block_size, writes=not reads)
        if is_protected(error):
            self.read_capabilities()
        return answer


class Part:
    """State of a unit that belongs to a group of commands: mode pages, medium, counters. Made with the unit."""

    kept: ClassVar[str] = ""
    """What it keeps over a restart, in a word that names the place; empty: nothing."""

    def __init__(self, unit: LogicalUnit) -> None:
        self.unit = unit
        self.place: Place | None = None
        """Where that is kept; None: nowhere."""
        self._kept_texts = 0

    @classmethod
    def of(cls, unit: LogicalUnit) -> Self:
        """The unit's own."""
        return unit.part(cls)

    def reset(self) -> None:
        """A logical unit reset: back to what that leaves."""

    def state(self) -> Any:
        """What another process needs to go on with this unit, as JSON has it; None: nothing."""
        return None

    def take_state(self, state: Any) -> None:
        """Go on with what :meth:`state` of another process gave. Raises ValueError when it is none."""

    def nexus_lost(self, nexus: Nexus) -> None:
        """Forget what is kept for a nexus."""

    def take_kept(self, text: str) -> None:
        """Go on with what was kept when the server ended. Called before the unit is served. Raises ValueError."""

    def served(self) -> None:
        """The unit is served from now on."""

    def look(self) -> None:
        """Called every second or so: look at what changes without a command."""

    def keeping(self, text: str) -> Callable[[], None]:
        """The call that keeps this text from now on, for a thread of the place's executor. There has to be a place."""
        assert self.place is not None
        self._kept_texts += 1
        return partial(self.place.keep, self._kept_texts, text)
