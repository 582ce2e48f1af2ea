"""The SCSI target device: its logical units, and the way of a task into them (SAM-5 4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from iscsitools.scsi.core import task_management
from iscsitools.scsi.core.command import CommandSet
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.errors import ScsiError, illegal_request, invalid_field, unit_attention
from iscsitools.scsi.core.gate import settle
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.core.unit_state import ItlNexus
from iscsitools.wire.scsi import Attribute, Status
from iscsitools.wire.sense import Asc

_NACA: Final = 0x04


class ScsiDevice:
    """A SCSI target device with its task router. ``name``: its SCSI name, for iSCSI the IQN.

    ``domain``: of the server; it is a member until it leaves. ``realm``: what initiators have to prove, as Member says.
    """

    def __init__(self, name: str, commands: CommandSet, domain: Domain | None = None, realm: object = None) -> None:
        self.name = name
        self.domain = Domain() if domain is None else domain
        self.realm = realm
        self.units: dict[int, LogicalUnit] = {}
        self.domain.devices.append(self)
        self._no_unit = commands.no_unit
        self._nexuses: dict[Nexus, None] = {}

    # Units

    def add_unit(self, unit: LogicalUnit) -> None:
        """Add a unit; raises ValueError when its number is taken. Attached nexuses learn that the list changed."""
        if unit.number in self.units:
            raise ValueError(f"LUN {unit.number} is there already")
        self._luns_changed(unit.number)
        self.units[unit.number] = unit
        unit.siblings, unit.domain, unit.device = self.units, self.domain, self
        for nexus in self._nexuses:
            if nexus.lun_of(unit.number) >= 0:
                unit.attach(nexus)
        for part in unit.parts:
            part.served()

    def remove_unit(self, number: int) -> list[Task]:
        """Remove a unit and end its tasks without status; returns them. Raises KeyError when it is not there.

        Threads may still work for these tasks: the backstore may be closed once each is released.
        """
        tasks = list(self.units[number].tasks.all())
        unit = self.units.pop(number)
        unit.removed = True
        ended = unit.tasks.abort(tasks)
        for task in ended:
            task.dropped()
        unit.refresh()
        unit.itl_nexuses.clear()
        self._luns_changed(number)
        return [task for task in ended if isinstance(task, Task)]

    def _luns_changed(self, number: int) -> None:
        """A unit comes or goes: who sees it learns that the list has changed."""
        self.domain.changes += 1
        for unit in self.units.values():
            for nexus, itl_nexus in unit.itl_nexuses.items():
                if nexus.lun_of(number) >= 0:
                    itl_nexus.attention(Asc.REPORTED_LUNS_DATA_HAS_CHANGED)

    def look(self) -> None:
        """Called every second or so: units look at what changes without a command."""
        for unit in self.units.values():
            for part in unit.parts:
                part.look()

    def end(self) -> None:
        """The server ends: what units do in the background ends at its next step."""
        for unit in self.units.values():
            unit.ending = True

    # Nexuses

    def attach(self, nexus: Nexus) -> None:
        """An I_T nexus was formed: every unit that it sees gets its object."""
        self._nexuses[nexus] = None
        for number, unit in self.units.items():
            if nexus.lun_of(number) >= 0:
                unit.attach(nexus)

    def show(self, nexus: Nexus, luns: Mapping[int, int] | None) -> None:
        """Let a nexus see other units, or the same by other LUNs; it gets REPORTED LUNS DATA HAS CHANGED.

        A unit that it does not see any more, or knows by another LUN now, is a new one to it: its tasks there end
        without status, and what leads a data path to it by the old LUN is closed.
        """
        before = {number: nexus.lun_of(number) for number in self.units}
        nexus.luns = luns
        for number, unit in self.units.items():
            now = nexus.lun_of(number)
            if now != before[number] >= 0:
                nexus.used.discard(number)
                for task in unit.detach(nexus):
                    task.dropped()
            if now >= 0:
                unit.attach(nexus).attention(Asc.REPORTED_LUNS_DATA_HAS_CHANGED)

    def detach(self, nexus: Nexus) -> None:
        """I_T nexus loss (SAM-5 6.3.4), told to every unit."""
        nexus.lost = True
        self._nexuses.pop(nexus, None)
        for unit in self.units.values():
            unit.detach(nexus)

    def itl_nexus(self, nexus: Nexus, lun: int) -> ItlNexus | None:
        """What ``nexus`` is to unit ``lun``; None when there is no such unit, or it does not see it."""
        unit = self.units.get(lun)
        return None if unit is None or nexus.lost or nexus.lun_of(lun) < 0 else unit.attach(nexus)

    # Tasks

    def accept(self, task: Task) -> bool:
        """Check a task and enter it into its unit's task set.

        True: ``data_out_length`` and ``transfer_length`` are set; bring the data and call ``task.execute()``. False: it
        has ended and ``done`` was called. The checks, in order: the unit is there, room in the task set, unit
        attention, operation code, task attribute, reservation, medium, write protection, and the CDB's fields
        (SAM-5 5.14, SPC-4 5.3).
        """
        itl_nexus = self.itl_nexus(task.nexus, task.lun)
        try:
            if itl_nexus is None:
                self._no_unit(task, self.units)
                task.done()
                return False
            _admit(task, self.units[task.lun], itl_nexus)
        except ScsiError as error:
            task.refuse(error)
            task.done()
            return False
        return True

    def bring_in(self, task: Task) -> bool:
        """Enter a WRITE that passed all checks when a data path began it; False: its unit is gone.

        Its data is still to come, for ``task.execute()``; then it is checked again. No unit attention is reported:
        those that were pending came before it, or after.
        """
        itl_nexus = self.itl_nexus(task.nexus, task.lun)
        if itl_nexus is None:
            return False
        unit = self.units[task.lun]
        task.unit, task.itl_nexus, task.command = unit, itl_nexus, unit.commands.find(task.cdb)
        task.generation = -1
        with suppress(ScsiError):  # the unit may have become smaller
            task.command.check(task)
        unit.tasks.enter(task)
        task.accepted = True
        return True

    def manage(self, function: int, nexus: Nexus, lun: int, tag: int) -> task_management.Result:
        """Perform a task management function (SAM-5 7); see :func:`iscsitools.scsi.core.task_management.manage`."""
        seen = {number: unit for number, unit in self.units.items() if nexus.lun_of(number) >= 0}
        result = task_management.manage(seen, function, nexus, lun, tag)
        settle()  # what data threads were at has ended too before the function is answered
        return result


def _admit(task: Task, unit: LogicalUnit, itl_nexus: ItlNexus) -> None:
    cdb = task.cdb
    task.nexus.used.add(unit.number)
    try:
        command = unit.commands.find(cdb)
    except ScsiError:
        _report_attention(itl_nexus)
        raise
    if not unit.tasks.has_room(task.nexus, command):
        raise ScsiError(Status.TASK_SET_FULL)
    if not command.ignores_attention:
        _report_attention(itl_nexus)
    if task.attribute == Attribute.ACA:  # no ACA is ever in effect here: NORMACA is 0
        raise illegal_request(Asc.INVALID_MESSAGE)
    task.unit, task.itl_nexus, task.command = unit, itl_nexus, command
    task.generation = unit.generation
    unit.check_state(command, cdb, task.nexus)
    if len(cdb) >= command.length and cdb[command.length - 1] & _NACA:
        raise invalid_field(command.length - 1, 2)
    command.check_usage(cdb)
    command.check(task)
    unit.tasks.enter(task)
    task.accepted = True


def _report_attention(itl_nexus: ItlNexus) -> None:
    """A pending unit attention goes before everything else that is to be said of a command (SAM-5 5.14)."""
    asc = itl_nexus.take_attention()
    if asc is not None:
        raise unit_attention(asc)
