"""Task management functions (SAM-5 7). TAS is 0: aborted tasks of other nexuses end without status too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from iscsitools.scsi.core.command import Call
from iscsitools.scsi.core.task import Nexus, Task
from iscsitools.wire.scsi import ManagementFunction, ManagementResponse
from iscsitools.wire.sense import Asc

if TYPE_CHECKING:
    from iscsitools.scsi.core.device import ScsiDevice
    from iscsitools.scsi.core.unit import LogicalUnit

Result = tuple[ManagementResponse, list[Task]]
_RESETS = (ManagementFunction.TARGET_WARM_RESET, ManagementFunction.TARGET_COLD_RESET)


def abort_calls(unit: LogicalUnit, calls: Iterable[Call]) -> list[Task]:
    """End these tasks without status; returns those that had not been ended before.

    All are marked before the first leaves the task set, so that none of them starts in another's place.
    """
    ended = [call for call in calls if not call.task.aborted]
    for call in ended:
        call.task.aborted = True
    for call in ended:
        unit.abort(call)
    return [call.task for call in ended]


def tell_owners(tasks: list[Task]) -> list[Task]:
    """Have the transport forget tasks that something other than a task management function ended; returns them."""
    for task in tasks:
        if task.owner is not None:
            task.owner.drop()
    return tasks


def manage(device: ScsiDevice, function: int, nexus: Nexus, lun: int, tag: int) -> Result:
    """Perform ``function`` for ``nexus``: the response, and the tasks that it ended, of any nexus.

    These are marked ``aborted``; ``done`` is not called for them, ``released`` is. ``tag`` is of ABORT TASK only.
    """
    if function in _RESETS:
        ended = [task for unit in device.units.values() for task in reset(unit, Asc.POWER_ON_OR_RESET)]
        return ManagementResponse.COMPLETE, ended
    if function == ManagementFunction.TASK_REASSIGN:
        return ManagementResponse.NO_REASSIGNMENT, []
    unit = device.units.get(lun)
    if unit is None:
        return ManagementResponse.NO_SUCH_LUN, []
    if function == ManagementFunction.ABORT_TASK:
        return _abort_task(unit, nexus, tag)
    if function == ManagementFunction.ABORT_TASK_SET:
        return ManagementResponse.COMPLETE, abort_calls(unit, _of(unit, nexus))
    if function == ManagementFunction.CLEAR_TASK_SET:
        return ManagementResponse.COMPLETE, _clear_task_set(unit, nexus)
    if function == ManagementFunction.LOGICAL_UNIT_RESET:
        return ManagementResponse.COMPLETE, reset(unit, Asc.BUS_DEVICE_RESET)
    if function == ManagementFunction.CLEAR_ACA:
        return ManagementResponse.NOT_SUPPORTED, []
    return ManagementResponse.REJECTED, []


def _of(unit: LogicalUnit, nexus: Nexus) -> list[Call]:
    return [call for call in unit.tasks.calls if call.task.nexus is nexus]


def _abort_task(unit: LogicalUnit, nexus: Nexus, tag: int) -> Result:
    ended = abort_calls(unit, [call for call in _of(unit, nexus) if call.task.tag == tag])
    return (ManagementResponse.COMPLETE if ended else ManagementResponse.NO_SUCH_TASK), ended


def _clear_task_set(unit: LogicalUnit, nexus: Nexus) -> list[Task]:
    """End all tasks; other nexuses that lost one get COMMANDS CLEARED BY ANOTHER INITIATOR (SAM-5 5.6, TAS 0)."""
    ended = abort_calls(unit, unit.tasks.calls)
    for other in {task.nexus for task in ended} - {nexus}:
        unit.attach(other).attention(Asc.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR)
    return ended


def reset(unit: LogicalUnit, asc: Asc) -> list[Task]:
    """Logical unit reset (SAM-5 6.3.3): tasks, RESERVE, medium locks and mode parameters; a UA for every nexus."""
    ended = abort_calls(unit, unit.tasks.calls)
    unit.reservations.holder = None
    unit.medium.locks.clear()
    unit.modes.reset()
    unit.attention(asc)
    unit.refresh()
    return ended
