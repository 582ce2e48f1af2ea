"""Access states of port groups that the configuration changes while it is served: implicit ones (SPC-4 5.15.2.5)."""

from __future__ import annotations

from iscsitools.config import TargetConfig
from iscsitools.scsi.core.access import change_access
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.port_groups import StatusCode
from iscsitools.server.assemble import state_of


def change_states(device: ScsiDevice, before: TargetConfig, after: TargetConfig) -> None:
    """Bring the groups of which the configuration says another state into that; initiators learn of it.

    With ``access_transition`` they are on their way for so long. What SET TARGET PORT GROUPS asks for meanwhile stays.
    """
    for unit in device.units.values():
        groups = unit.port_groups
        groups.transition = after.access_transition
        change_access(
            unit,
            {
                group: state_of(after, group)
                for group in groups.groups
                if state_of(after, group) != state_of(before, group)
            },
            StatusCode.TARGET,
        )
