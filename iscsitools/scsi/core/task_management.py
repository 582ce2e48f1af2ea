"""Task management functions (SAM-5 7). TAS is 0: aborted tasks of other nexuses end without status too."""

from __future__ import annotations

from collections.abc import Mapping

from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.task_set import QueuedTask
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.scsi import ManagementFunction, ManagementResponse
from iscsitools.wire.sense import Asc

Result = tuple[ManagementResponse, list[QueuedTask]]
_RESETS = (ManagementFunction.TARGET_WARM_RESET, ManagementFunction.TARGET_COLD_RESET)


def manage(units: Mapping[int, LogicalUnit], function: int, nexus: Nexus, lun: int, tag: int) -> Result:
    """Perform ``function`` for ``nexus``: the response, and the tasks that it ended, of any nexus.

    These are marked ``aborted``; ``done`` is not called for them, ``released`` is. ``tag`` is of ABORT TASK only.
    """
    if function in _RESETS:
        return ManagementResponse.COMPLETE, [
            task for unit in units.values() for task in unit.reset(Asc.POWER_ON_OR_RESET)
        ]
    if function == ManagementFunction.TASK_REASSIGN:
        return ManagementResponse.NO_REASSIGNMENT, []
    unit = units.get(lun)
    if unit is None:
        return ManagementResponse.NO_SUCH_LUN, []
    if function == ManagementFunction.ABORT_TASK:
        return _abort_task(unit, nexus, tag)
    if function == ManagementFunction.ABORT_TASK_SET:
        return ManagementResponse.COMPLETE, unit.tasks.abort(task for task in unit.tasks if task.nexus is nexus)
    if function == ManagementFunction.CLEAR_TASK_SET:
        return ManagementResponse.COMPLETE, _clear_task_set(unit, nexus)
    if function == ManagementFunction.LOGICAL_UNIT_RESET:
        return ManagementResponse.COMPLETE, unit.reset(Asc.BUS_DEVICE_RESET)
    if function == ManagementFunction.CLEAR_ACA:
        return ManagementResponse.NOT_SUPPORTED, []
    return ManagementResponse.REJECTED, []


def _abort_task(unit: LogicalUnit, nexus: Nexus, tag: int) -> Result:
    named = [task for task in unit.tasks if isinstance(task, Task) and task.nexus is nexus and task.tag == tag]
    ended = unit.tasks.abort(named)
    return (ManagementResponse.COMPLETE if ended else ManagementResponse.NO_SUCH_TASK), ended


def _clear_task_set(unit: LogicalUnit, nexus: Nexus) -> list[QueuedTask]:
    """End all tasks; other nexuses that lost one get COMMANDS CLEARED BY ANOTHER INITIATOR (SAM-5 5.6, TAS 0)."""
    ended = unit.tasks.abort(unit.tasks.all())
    for other in {task.nexus for task in ended} - {nexus}:
        unit.attach(other).attention(Asc.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR)
    return ended
