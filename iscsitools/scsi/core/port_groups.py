"""Target port groups and their asymmetric access states (SPC-4 5.15): which ports may serve a unit, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from iscsitools.scsi.core.command import Flags
from iscsitools.scsi.core.errors import check_condition
from iscsitools.wire.sense import Asc, SenseKey


class AccessState(IntEnum):
    """Asymmetric access states (SPC-4 table 85)."""

    OPTIMIZED = 0x0
    NON_OPTIMIZED = 0x1
    STANDBY = 0x2
    UNAVAILABLE = 0x3
    TRANSITIONING = 0xF
    """On its way to another state: nothing can ask for it."""


ACTIVE: Final = frozenset({AccessState.OPTIMIZED, AccessState.NON_OPTIMIZED})
_WHY: Final = {
    AccessState.STANDBY: Asc.PORT_IN_STANDBY,
    AccessState.UNAVAILABLE: Asc.PORT_UNAVAILABLE,
    AccessState.TRANSITIONING: Asc.PORT_TRANSITIONING,
}


class StatusCode(IntEnum):
    """How a group came to its state (SPC-4 table 283)."""

    NONE = 0
    COMMAND = 1
    TARGET = 2


@dataclass(slots=True)
class PortGroup:
    """A target port group of one unit. ``ports``: relative target port identifiers; ``preferred``: PREF."""

    ports: tuple[int, ...]
    state: AccessState = AccessState.OPTIMIZED
    preferred: bool = False
    status: StatusCode = StatusCode.NONE


class PortGroups:
    """The groups of one unit, by number. A port is in one group."""

    __slots__ = ("_of_port", "groups", "moves", "transition")

    def __init__(self, groups: Mapping[int, PortGroup] | None = None, transition: float = 0) -> None:
        self.transition = transition
        """Seconds that a change of a state takes."""
        self.moves: dict[int, Mapping[int, AccessState]] = {}
        """By group that is transitioning, the change that it is part of."""
        self.groups = dict(groups) if groups else {1: PortGroup((1,))}
        self._of_port = {port: number for number, group in self.groups.items() for port in group.ports}

    @property
    def asymmetric(self) -> bool:
        """Whether there is more than one group, so that access can differ at all."""
        return len(self.groups) > 1

    @property
    def ports(self) -> frozenset[int]:
        """The relative identifiers of all ports."""
        return frozenset(self._of_port)

    def number_of(self, port: int) -> int:
        """The group of a port."""
        return self._of_port[port]

    def state_at(self, port: int) -> AccessState:
        """The state of the group that a port is in."""
        return self.groups[self._of_port[port]].state

    def check(self, flags: Flags, port: int) -> None:
        """Raise what a command gets that the state of the port's group does not let through (SPC-4 5.15.2.4)."""
        if not self.asymmetric:
            return
        state = self.state_at(port)
        if state in ACTIVE or Flags.IN_ANY_STATE in flags:
            return
        if state is not AccessState.STANDBY or Flags.IN_STANDBY not in flags:
            raise check_condition(SenseKey.NOT_READY, _WHY[state])
