"""The state of a logical unit that decides whether a command may run, and the gates that follow from it.

A gate is what a data path looks at in place of all of this: see :mod:`iscsitools.scsi.core.gate`. Whoever changes the
state calls :meth:`UnitState.refresh`, and each nexus has its gate opened or closed.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from iscsitools.backstores.base import Backstore
from iscsitools.scsi.core.command import Command
from iscsitools.scsi.core.errors import ScsiError, check_condition
from iscsitools.scsi.core.executor import Executor
from iscsitools.scsi.core.gate import TRANSFERS, Gate, make_gate
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.port_groups import ACTIVE, AccessState, PortGroups, StatusCode
from iscsitools.scsi.core.reservations import Reservations
from iscsitools.scsi.core.task_set import TaskSet
from iscsitools.wire.sense import Asc, SenseKey


class UnitState:
    """What a unit is made of, and how it stands now. ``number``: its unit number; ``store`` is open and stays open."""

    def __init__(self, number: int, store: Backstore, executor: Executor, options: UnitOptions) -> None:
        self.number = number
        self.store = store
        self.executor = executor
        self.options = options
        self.block_size = options.block_size
        self.blocks = store.size // options.block_size
        self.capabilities = store.capabilities
        self.write_cache = options.write_cache and self.capabilities.volatile_cache
        """Whether completed writes may still be in a volatile cache: WCE of the Caching mode page."""
        self.software_write_protect = False
        """SWP of the Control mode page."""
        self.not_ready: ScsiError | None = None
        """What a command that needs the medium is answered with; None: the medium is there."""
        self.occupied = False
        """Something is done to the whole medium: then ``not_ready`` is the answer to all commands but those that are
        answered whatever the unit's state is, INQUIRY, REPORT LUNS and REQUEST SENSE (SBC-3 4.11.2, 5.3.1)."""
        self.powerless: ScsiError | None = None
        """The same while the power is cut; apart from ``not_ready``, which may change meanwhile."""
        self.removed = False
        self.ending = False
        """The server ends: what nobody waits for is not gone on with."""
        self.generation = 0
        """Counts the changes of what decides whether a command may run; a task remembers the one it was checked at."""
        self.port_groups = PortGroups()
        """The target ports through which it can be reached, and their access states."""
        self.reservations = Reservations()
        self.itl_nexuses: dict[Nexus, ItlNexus] = {}
        self.tasks = TaskSet(options.queue_depth, self._gates_changed, self._gather)

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
        ready = self.not_ready is None and self.powerless is None
        return ready and not self.removed and not (self.tasks.barriers or self.tasks.writing)

    @property
    def writes_at_once(self) -> bool:
        """Whether, beyond that, a plain write goes to the backstore's cache with nothing more to do."""
        return not self.tasks.reading and not self.write_protected and not self.must_write_through(fua=False)

    def check_state(self, command: Command, cdb: bytes, nexus: Nexus) -> None:
        """Raise when the port's access state, a reservation, the medium or write protection forbids the command now.

        What is answered with a unit attention pending is answered whatever is done to the medium: they are the same.
        """
        self.port_groups.check(command.flags, nexus.target_port)
        self.reservations.check(command, cdb, nexus)
        if not command.ignores_attention:
            if self.powerless is not None:
                raise self.powerless
            if self.not_ready is not None and (command.needs_medium or self.occupied):
                raise self.not_ready
        if command.writes and self.write_protected:
            asc = Asc.SOFTWARE_WRITE_PROTECTED if self.software_write_protect else Asc.WRITE_PROTECTED
            raise check_condition(SenseKey.DATA_PROTECT, asc)

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

    def read_capabilities(self) -> None:
        """Ask the backstore anew what it is; a device may be set read-only while it is served, and back."""
        self.capabilities = self.store.capabilities
        self.refresh()

    def refresh(self) -> None:
        """Something of the state has changed that decides what a command may do: called after every such change."""
        self.generation += 1
        for itl_nexus in self.itl_nexuses.values():
            itl_nexus.refresh()

    def _gates_changed(self) -> None:
        """Open or close the gates of all nexuses. Often called, so it takes only what each nexus has decided."""
        read = self.reads_at_once
        write = read and self.writes_at_once
        for itl_nexus in self.itl_nexuses.values():
            gate = itl_nexus.gate
            gate.read_open = read and itl_nexus.may_read
            gate.write_open = write and itl_nexus.may_write

    def _gather(self, everybody: bool) -> None:
        for nexus, itl_nexus in list(self.itl_nexuses.items()):
            if itl_nexus.gate.transfers or (everybody and itl_nexus.gate.lent):
                nexus.gather()

    @property
    def in_flight(self) -> int:
        """How many tasks it has, those included that wait for data in a data path."""
        return len(self.tasks) + self.tasks.words[TRANSFERS]

    @property
    def counts(self) -> array[int]:
        """The unit's words, with what data threads have counted by now."""
        for itl_nexus in self.itl_nexuses.values():
            itl_nexus.gate.add_up()
        return self.tasks.words

    def attention(self, asc: Asc, but: Nexus | None = None) -> None:
        """Queue a unit attention for every nexus, or for all others than ``but``."""
        for nexus, itl_nexus in self.itl_nexuses.items():
            if nexus is not but:
                itl_nexus.attention(asc)


class ItlNexus:
    """An I_T_L nexus (SAM-5 3.1.51). ``gate``: opened and closed whenever the unit's state changes.

    ``may_read`` and ``may_write``: what reservations and unit attentions let this nexus do.
    """

    __slots__ = ("attentions", "gate", "may_read", "may_write", "nexus", "unit")

    def __init__(self, nexus: Nexus, unit: UnitState) -> None:
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
