"""What a unit hands to the process that goes on with it: all that is of it and in no store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iscsitools.scsi.core.port_groups import AccessState, StatusCode
from iscsitools.scsi.core.registrations import Port, Registrations
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.sense import Asc


def unit_state(unit: LogicalUnit) -> dict[str, Any]:
    """All that is of the unit and in no store, as JSON has it."""
    persistent = unit.reservations.persistent
    return {
        "serial": unit.identity.serial,
        "naa": unit.identity.naa.hex(),
        "registrations": persistent.to_text(),
        "generation": persistent.generation,
        "access": [[n, group.state, group.status] for n, group in unit.port_groups.groups.items()],
        "parts": {type(part).__name__: part.state() for part in unit.parts},
        "attentions": [
            [*Port.of(nexus), list(map(int, itl_nexus.attentions))] for nexus, itl_nexus in unit.itl_nexuses.items()
        ],
    }


def take_unit_state(unit: LogicalUnit, state: Mapping[str, Any]) -> None:
    """Go on with what :func:`unit_state` gave in another process. Raises ValueError when it is none."""
    try:
        persistent = Registrations.from_text(state["registrations"])
        persistent.generation = int(state["generation"])
        unit.reservations.persistent = persistent
        for number, access, status in state["access"]:
            if number in unit.port_groups.groups:
                group = unit.port_groups.groups[number]
                group.state, group.status = AccessState(access), StatusCode(status)
        for part in unit.parts:
            if (told := state["parts"].get(type(part).__name__)) is not None:
                part.take_state(told)
        for port, number, pending in state["attentions"]:
            unit.expected[Port(str(port), int(number))] = [Asc(asc) for asc in pending]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no state of a unit ({type(error).__name__}: {error})") from None
    unit.refresh()
