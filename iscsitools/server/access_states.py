"""Access states of port groups that the configuration changes while it is served: implicit ones (SPC-4 5.15.2.5)."""

from __future__ import annotations

from functools import partial

from iscsitools.config import TargetConfig
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.port_groups import AccessState, StatusCode
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.assemble import state_of
from iscsitools.server.loop import Loop

States = dict[int, AccessState]


def change_states(loop: Loop, device: ScsiDevice, before: TargetConfig, after: TargetConfig) -> None:
    """Bring the groups of which the configuration says another state into that; initiators learn of it.

    With ``access_transition`` they are on their way for so long. What SET TARGET PORT GROUPS asks for meanwhile stays.
    """
    for unit in device.units.values():
        wanted = {
            group: state_of(after, group)
            for group in unit.port_groups.groups
            if state_of(after, group) != state_of(before, group)
        }
        if not wanted:
            continue
        if not after.access_transition:
            unit.set_access(wanted, StatusCode.TARGET)
            continue
        unit.set_access(dict.fromkeys(wanted, AccessState.TRANSITIONING), StatusCode.TARGET)
        loop.call_later(after.access_transition, partial(_arrive, unit, wanted))


def _arrive(unit: LogicalUnit, wanted: States) -> None:
    groups = unit.port_groups.groups
    arrived = {group: state for group, state in wanted.items() if groups[group].state is AccessState.TRANSITIONING}
    unit.set_access(arrived, StatusCode.TARGET)
