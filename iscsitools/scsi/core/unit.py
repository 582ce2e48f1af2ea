"""A logical unit: its state, and what each I_T nexus is to it.

Which commands there are, and what state they keep, is handed in as a CommandSet; how a task runs stands in
:mod:`iscsitools.scsi.core.task`.
"""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol, Self, TypeVar

from iscsitools.backstores.base import Backstore, MediumError, stack_name
from iscsitools.repeats import RepeatLimit
from iscsitools.scsi.core.command import Command, CommandSet, CommandTable, Flags
from iscsitools.scsi.core.domain import Domain, DomainMember
from iscsitools.scsi.core.errors import ScsiError, backstore_error, check_condition, is_protected
from iscsitools.scsi.core.executor import Executor
from iscsitools.scsi.core.gate import TRANSFERS, Gate, make_gate
from iscsitools.scsi.core.identity import Identity, derive_identity
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import TransferLimits, UnitOptions
from iscsitools.scsi.core.place import Place
from iscsitools.scsi.core.port_groups import ACTIVE, AccessState, PortGroups, StatusCode
from iscsitools.scsi.core.registrations import Port
from iscsitools.scsi.core.reservations import Reservations
from iscsitools.scsi.core.task_set import QueuedTask, TaskSet
from iscsitools.scsi.core.thresholds import Threshold
from iscsitools.wire.sense import Asc, SenseKey

_log = logging.getLogger(__name__)
_log.addFilter(RepeatLimit())
_PartT = TypeVar("_PartT", bound="Part")


class AtomicWriter(Protocol):
    """Writes blocks so that a power cut leaves all of them or none, in a thread that may wait."""

    longest: int
    """Bytes of one write at most."""

    def write(self, store: Backstore, offset: int, data: memoryview) -> None:
        """Write, durably; raises what the store raises, and OSError."""


class LogicalUnit:
    """A direct-access block device. ``number``: its unit number; ``store`` is open and stays open.

    All methods belong to the event loop's thread. Only a task's medium work runs elsewhere, when ``store.blocking``.
    """

    def __init__(
        self, number: int, store: Backstore, executor: Executor, options: UnitOptions, commands: CommandSet
    ) -> None:
        self.number = number
        self.store = store
        self.executor = executor
        self.options = options
        self.block_size = options.block_size
        self.blocks = store.size // options.block_size
        self.limits = TransferLimits.of(options.block_size)
        self.capabilities = capabilities = store.capabilities
        self.thin = options.thin and capabilities.thin
        physical = options.physical_block_size or capabilities.physical_block_size or 4096
        self.commands = commands.thin if self.thin else commands.fully_provisioned
        if capabilities.crypto_erase:
            self.commands = CommandTable([*self.commands, *commands.encrypted])
        self.physical_blocks = max(1, physical // options.block_size)
        derived = derive_identity(options.target, number, store.identity, options.serial, store.own_identity)
        self.identity = Identity(derived.serial, options.naa or derived.naa)
        self.write_cache = options.write_cache and capabilities.volatile_cache
        """Whether completed writes may still be in a volatile cache: WCE of the Caching mode page."""
        self.software_write_protect = False
        """SWP of the Control mode page."""
        self.counts_space = self.thin and store.space() is not None
        """Whether it is known what the unit takes of its medium and what is left, so that there can be thresholds."""
        self.thresholds: tuple[Threshold, ...] = ()
        """Those that are enabled, by the mode pages."""
        self.not_ready: ScsiError | None = None
        """What a command that needs the medium is answered with; None: the medium is there."""
        self.removed = False
        self.ending = False
        """The server ends: what nobody waits for is not gone on with."""
        self.generation = 0
        """Counts the changes of what decides whether a command may run; a task remembers the one it was checked at."""
        self.siblings: dict[int, LogicalUnit] = {number: self}
        """All units of its device, by number; the device puts its own dictionary here."""
        self.domain = Domain()
        """The server's, once it is in a device."""
        self.device: DomainMember | None = None
        self.port_groups = PortGroups()
        """The target ports through which it can be reached, and their access states."""
        self.reservations = Reservations()
        self.reservation_place: Place | None = None
        """Where registrations can be kept; None: nowhere, so PTPL_C is 0."""
        self.atomic: AtomicWriter | None = None
        """What makes writes atomic through a power cut; None: nothing does, so there is no such command."""
        self._atomic_commands = commands.atomic
        self.kept_states = 0
        """How many states of the registrations were given to that place."""
        self.itls: dict[Nexus, ItlNexus] = {}
        self.tasks = TaskSet(options.queue_depth, self._gates_changed, self._gather)
        self.failures: Counter[str] = Counter()
        """How often a command of that name failed because the backstore did."""
        self.later: Callable[[float, Callable[[], None]], object] = lambda _seconds, call: call()
        """Calls on the loop's thread so many seconds later."""
        self.clock: Callable[[], int] = lambda: 0
        """Milliseconds since 1970, of the machine that serves it."""
        self.expected: dict[Port, list[Asc]] = {}
        """Nexuses that another process had before this one took over, and their unit attentions."""
        self._failures = object()  # its name among the lines that repeat
        self._parts: dict[type, Part] = {}
        for make in commands.parts:
            part = make(self)
            self._parts[type(part)] = part

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

    # State

    @property
    def write_protected(self) -> bool:
        """Whether anything forbids writing: the option, the backstore, or SWP."""
        return self.options.readonly or self.software_write_protect or self.capabilities.read_only

    @property
    def stops(self) -> bool:
        """Whether it will not be served any more."""
        return self.removed or self.ending

    def must_write_through(self, fua: bool) -> bool:
        """Whether a write has to be durable before its status."""
        return self.capabilities.volatile_cache and (fua or not self.write_cache)

    @property
    def reads_at_once(self) -> bool:
        """Whether a plain read, but for its nexus, needs no look at this unit's state, and nothing writes beside it."""
        return self.not_ready is None and not self.removed and not (self.tasks.barriers or self.tasks.writing)

    @property
    def writes_at_once(self) -> bool:
        """Whether, beyond that, a plain write goes to the backstore's cache with nothing more to do."""
        return not self.tasks.reading and not self.write_protected and not self.must_write_through(fua=False)

    def refresh(self) -> None:
        """Something of the state has changed that decides what a command may do: called after every such change."""
        self.generation += 1
        for itl in self.itls.values():
            itl.refresh()

    def _gates_changed(self) -> None:
        """Open or close the gates of all nexuses. Often called, so it takes only what each nexus has decided."""
        read = self.reads_at_once
        write = read and self.writes_at_once
        for itl in self.itls.values():
            gate = itl.gate
            gate.read_open = read and itl.may_read
            gate.write_open = write and itl.may_write

    def _gather(self) -> None:
        for nexus, itl in list(self.itls.items()):
            if itl.gate.transfers:
                nexus.gather()

    @property
    def in_flight(self) -> int:
        """How many tasks it has, those included that wait for data in a data path."""
        return len(self.tasks) + self.tasks.words[TRANSFERS]

    @property
    def counts(self) -> array[int]:
        """The unit's words, with what data threads have counted by now."""
        for itl in self.itls.values():
            itl.gate.add_up()
        return self.tasks.words

    def attention(self, asc: Asc, but: Nexus | None = None) -> None:
        """Queue a unit attention for every nexus, or for all others than ``but``."""
        for nexus, itl in self.itls.items():
            if nexus is not but:
                itl.attention(asc)

    def attach(self, nexus: Nexus) -> ItlNexus:
        """The object of this nexus, made with POWER ON, RESET OR BUS DEVICE RESET OCCURRED pending (SAM-5 6.1).

        One that was lost because another process took over finds I_T NEXUS LOSS OCCURRED and what was pending before:
        nothing was reset (SPC-4 table 44).
        """
        itl = self.itls.get(nexus)
        if itl is None:
            itl = self.itls[nexus] = ItlNexus(nexus, self)
            known = self.expected.pop(Port.of(nexus), None)
            for asc in [Asc.POWER_ON_OR_RESET] if known is None else [Asc.I_T_NEXUS_LOSS, *known]:
                itl.attention(asc)
        return itl

    def detach(self, nexus: Nexus) -> list[QueuedTask]:
        """I_T nexus loss (SAM-5 6.3.4): its tasks end without status, its RESERVE and what parts keep for it too.

        Returns the tasks.
        """
        ended = self.tasks.abort(task for task in self.tasks if task.nexus is nexus)
        itl = self.itls.pop(nexus, None)
        if itl is not None:
            itl.gate.close()
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
        ended = self.tasks.abort(self.tasks)
        self.reservations.holder = None
        for part in self._parts.values():
            part.reset()
        self.attention(asc)
        self.refresh()
        return ended

    def capacity_changed(self) -> None:
        """Read the backstore's size again; initiators learn of a new one by CAPACITY DATA HAS CHANGED."""
        self._read_capabilities()
        blocks = self.store.size // self.block_size
        if blocks != self.blocks:
            self.blocks = blocks
            self.refresh()
            self.attention(Asc.CAPACITY_DATA_HAS_CHANGED)

    def reopened(self, store: Backstore) -> None:
        """Go on with the same disk, which has been opened anew as another object."""
        self.store = store
        for itl in self.itls.values():
            itl.gate.close()
            itl.gate = itl.new_gate()
        self._read_capabilities()

    def _read_capabilities(self) -> None:
        """Ask the backstore anew what it is; a device may be set read-only while it is served, and back."""
        self.capabilities = self.store.capabilities
        self.refresh()

    def resize(self, size: int) -> None:
        """Resize the backstore to ``size`` bytes; raises what it raises."""
        self.store.resize(size)
        self.capacity_changed()

    # Tasks

    def set_access(self, states: Mapping[int, AccessState], status: StatusCode, but: Nexus | None = None) -> None:
        """Bring target port groups into new states; nexuses, others than ``but``, learn of it if one changed."""
        changed = False
        for number, state in states.items():
            group = self.port_groups.groups[number]
            if group.state != state:
                group.state, group.status = state, status
                changed = True
        if changed:
            self.attention(Asc.ACCESS_STATE_CHANGED, but)
            self.refresh()

    def check_state(self, command: Command, cdb: bytes, nexus: Nexus) -> None:
        """Raise when the port's access state, a reservation, the medium or write protection forbids the command now."""
        self.port_groups.check(command.flags, nexus.target_port)
        self.reservations.check(command, cdb, nexus)
        if command.needs_medium and self.not_ready is not None:
            raise self.not_ready
        if command.writes and self.write_protected:
            asc = Asc.SOFTWARE_WRITE_PROTECTED if self.software_write_protect else Asc.WRITE_PROTECTED
            raise check_condition(SenseKey.DATA_PROTECT, asc)

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
            self._read_capabilities()
        return answer


class ItlNexus:
    """An I_T_L nexus (SAM-5 3.1.51). ``gate``: opened and closed whenever the unit's state changes.

    ``may_read`` and ``may_write``: what reservations and unit attentions let this nexus do.
    """

    __slots__ = ("attentions", "gate", "may_read", "may_write", "nexus", "unit")

    def __init__(self, nexus: Nexus, unit: LogicalUnit) -> None:
        self.nexus = nexus
        self.unit = unit
        self.attentions: list[Asc] = []
        self.may_read = self.may_write = False
        self.gate = self.new_gate()

    def new_gate(self) -> Gate:
        """A closed gate to the unit's store."""
        unit = self.unit
        store = unit.store
        if store.blocking and store.asynchronous and store.completion_fd >= 0:
            unit.executor.listen(store)
        return make_gate(unit.number, unit.store, unit.block_size, unit.blocks, unit.tasks.words)

    def attention(self, asc: Asc) -> None:
        """Queue a unit attention condition (SAM-5 5.14).

        A condition that is already pending is not queued again; a reset makes those before it void (SPC-4 table 44).
        """
        if asc in (Asc.POWER_ON_OR_RESET, Asc.BUS_DEVICE_RESET):
            self.attentions = [asc]
        elif asc not in self.attentions:
            self.attentions.append(asc)
        self.refresh()

    def take_attention(self) -> Asc | None:
        """The oldest pending unit attention, which is then cleared; None: there is none."""
        if not self.attentions:
            return None
        asc = self.attentions.pop(0)
        self.refresh()
        return asc

    def clear_attention(self, asc: Asc) -> None:
        """Forget one kind of unit attention (SPC-4 6.33: REPORT LUNS clears its own)."""
        if asc in self.attentions:
            self.attentions.remove(asc)
            self.refresh()

    def refresh(self) -> None:
        """Recompute the gate."""
        unit, gate, nexus = self.unit, self.gate, self.nexus
        gate.blocks = unit.blocks
        undisturbed = not self.attentions and not nexus.lost
        if unit.port_groups.asymmetric and unit.port_groups.state_at(nexus.target_port) not in ACTIVE:
            undisturbed = False
        self.may_read = undisturbed and unit.reservations.permits(nexus, reads=True)
        self.may_write = undisturbed and unit.reservations.permits(nexus, reads=False)
        gate.read_open = self.may_read and unit.reads_at_once
        gate.write_open = self.may_write and unit.reads_at_once and unit.writes_at_once


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
