"""The SCSI target device: its logical units, and the way of a task through them (SAM-5 4.5)."""

from __future__ import annotations

from typing import Final

from iscsitools.scsi.core import task_management as management
from iscsitools.scsi.core.command import Call
from iscsitools.scsi.core.errors import ScsiError, invalid_field
from iscsitools.scsi.core.itl_nexus import ItlNexus
from iscsitools.scsi.core.task import Nexus, Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.spc import absent_unit as absent
from iscsitools.scsi.spc.request_sense import unit_attention
from iscsitools.wire.scsi import ManagementResponse, Status
from iscsitools.wire.sense import Asc

_NACA = 0x04


class ScsiDevice:
    """A SCSI target device with its task router. ``name``: its SCSI name, for iSCSI the IQN."""

    target_ports: Final = frozenset({1})
    """The relative target port identifiers of its ports (SPC-4 7.8.6.5). iSCSI: one portal group is one port."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.units: dict[int, LogicalUnit] = {}
        self._nexuses: dict[Nexus, None] = {}

    # Units

    def add_unit(self, unit: LogicalUnit) -> None:
        """Add a unit; raises ValueError when its number is taken. Attached nexuses learn that the list changed."""
        if unit.number in self.units:
            raise ValueError(f"LUN {unit.number} is there already")
        self._luns_changed()
        self.units[unit.number] = unit
        for nexus in self._nexuses:
            unit.attach(nexus)

    def remove_unit(self, number: int) -> list[Task]:
        """Remove a unit and end its tasks without status; returns them. Raises KeyError when it is not there.

        Threads may still work for these tasks: the backstore may be closed once each is released.
        """
        unit = self.units.pop(number)
        unit.removed = True
        ended = management.tell_owners(management.abort_calls(unit, unit.tasks.calls))
        unit.refresh()
        unit.itls.clear()
        self._luns_changed()
        return ended

    def _luns_changed(self) -> None:
        for unit in self.units.values():
            unit.attention(Asc.REPORTED_LUNS_DATA_HAS_CHANGED)

    # Nexuses

    def attach(self, nexus: Nexus) -> None:
        """An I_T nexus was formed: every unit gets its object."""
        self._nexuses[nexus] = None
        for unit in self.units.values():
            unit.attach(nexus)

    def detach(self, nexus: Nexus) -> None:
        """I_T nexus loss (SAM-5 6.3.4): its tasks end without status, its RESERVE and its medium lock end."""
        nexus.lost = True
        self._nexuses.pop(nexus, None)
        for unit in self.units.values():
            management.abort_calls(unit, [call for call in unit.tasks.calls if call.task.nexus is nexus])
            itl = unit.itls.pop(nexus, None)
            if itl is not None:
                itl.gate.close()
            unit.medium.locks.discard(nexus)
            if unit.reservations.holder is nexus:
                unit.reservations.holder = None
                unit.refresh()

    def itl(self, nexus: Nexus, lun: int) -> ItlNexus | None:
        """What ``nexus`` is to unit ``lun``; None when there is no such unit."""
        unit = self.units.get(lun)
        return None if unit is None or nexus.lost else unit.attach(nexus)

    # Tasks

    def accept(self, task: Task) -> bool:
        """Check a task and enter it into its unit's task set.

        True: ``data_out_length`` and ``transfer_length`` are set; bring the data and call :meth:`execute`. False: it
        has ended and ``done`` was called. The checks, in order: the unit is there, operation code, room in the task
        set, unit attention, reservation, medium, write protection, and the CDB's fields (SAM-5 5.14, SPC-4 5.3).
        """
        itl = self.itl(task.nexus, task.lun)
        try:
            if itl is None:
                absent.answer(self, task)
                task.done(task)
                return False
            self._admit(task, itl)
        except ScsiError as error:
            task.status, task.sense = error.status, error.sense
            task.done(task)
            return False
        return True

    def _admit(self, task: Task, itl: ItlNexus) -> None:
        unit = itl.unit
        task.unit = unit
        task.nexus.used.add(unit.number)
        if unit.tasks.full:
            raise ScsiError(Status.TASK_SET_FULL)
        command = unit.commands.find(task.cdb)
        call = Call(task, self, unit, itl, command)
        if not command.ignores_attention:
            asc = itl.take_attention()
            if asc is not None:
                raise unit_attention(asc)
        unit.check_state(call)
        if len(task.cdb) >= command.length and task.cdb[command.length - 1] & _NACA:
            raise invalid_field(command.length - 1, 2)
        command.check_usage(task.cdb)
        command.check(call)
        task.call = call
        unit.tasks.enter(call)

    def execute(self, task: Task) -> None:
        """Run an accepted task, of which all the data-out is there. ``done`` is called now or later."""
        call = task.call
        if isinstance(call, Call) and not task.aborted:
            call.unit.tasks.ready(call)

    def manage(self, function: int, nexus: Nexus, lun: int, tag: int) -> tuple[ManagementResponse, list[Task]]:
        """Perform a task management function (SAM-5 7); see :func:`iscsitools.scsi.core.task_management.manage`."""
        return management.manage(self, function, nexus, lun, tag)
