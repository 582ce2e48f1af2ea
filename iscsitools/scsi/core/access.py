"""How a unit's target port groups come to other access states: over time, or because another server decides."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.port_groups import AccessState, PortGroup, PortGroups, StatusCode
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.sense import Asc


def change_access(
    unit: LogicalUnit, wanted: Mapping[int, AccessState], status: StatusCode, but: Nexus | None = None
) -> None:
    """Bring groups into new states, by way of the state transitioning where that takes its time.

    Nexuses, others than ``but``, learn of it. Of two changes of a group the later one counts, and one that comes at
    once is not undone.
    """
    groups, seconds = unit.port_groups.groups, unit.port_groups.transition
    moving = {number: state for number, state in wanted.items() if groups[number].state != state}
    if not seconds or not moving:
        unit.set_access(wanted, status, but)
        return
    unit.port_groups.moves.update(dict.fromkeys(moving, moving))
    unit.set_access(dict.fromkeys(moving, AccessState.TRANSITIONING), status, but)
    unit.later(seconds, partial(_arrive, unit, moving, status, but))


def _arrive(unit: LogicalUnit, moving: Mapping[int, AccessState], status: StatusCode, but: Nexus | None) -> None:
    groups, moves = unit.port_groups.groups, unit.port_groups.moves
    arrived = {
        number: state
        for number, state in moving.items()
        if groups[number].state is AccessState.TRANSITIONING and moves.get(number) is moving
    }
    unit.set_access(arrived, status, but)


def take_access(unit: LogicalUnit, states: Mapping[int, AccessState]) -> None:
    """Have these target port groups and states, which another one decides on; initiators learn of a change."""
    groups = unit.port_groups.groups
    if any(number not in groups for number in states):
        more = {number: PortGroup((number,), state) for number, state in states.items() if number not in groups}
        unit.port_groups = PortGroups({**groups, **more}, unit.port_groups.transition)
        unit.attention(Asc.ACCESS_STATE_CHANGED)
    unit.set_access(states, StatusCode.TARGET)
    unit.refresh()
