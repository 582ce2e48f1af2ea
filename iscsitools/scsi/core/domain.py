"""What is common to all devices of one server: commands that reach over several units find the others here."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar, cast

_T = TypeVar("_T")


class DomainMember(Protocol):
    """A device, as its domain sees it (``core.device.ScsiDevice`` stands above this module)."""

    @property
    def units(self) -> Mapping[int, Any]:
        """Its units (``core.unit.LogicalUnit``), by number."""

    @property
    def realm(self) -> object:
        """What it asks initiators to prove before they are let in; None: nothing."""


class Domain:
    """The devices of a server.

    ``clock``: milliseconds that only go forward; ``random``: bytes that nobody can guess.
    """

    def __init__(
        self, clock: Callable[[], int] = lambda: 0, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self.clock = clock
        self.random = random
        self.devices: list[DomainMember] = []
        """In the order in which they came."""
        self.changes = 0
        """How often a unit has come or gone: who keeps something by unit looks whether it still holds."""
        self._parts: dict[type, object] = {}

    def units(self) -> Iterator[Any]:
        """All units (``core.unit.LogicalUnit``) of all devices."""
        for device in self.devices:
            yield from device.units.values()

    def part(self, kind: type[_T]) -> _T:
        """The one object of that kind, which is made with the domain when it is asked for first."""
        found = self._parts.get(kind)
        if found is None:
            found = self._parts[kind] = cast("Callable[[Domain], object]", kind)(self)
        return cast("_T", found)
