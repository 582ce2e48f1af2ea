"""The state of persistent reservations: who is registered, who holds what (SPC-4 5.13).

This is the boundary for keeping them over a power loss: all of the state is in this object's four fields, and nothing
but its methods changes them. They are kept in memory, so PTPL_C is 0 and APTPL is refused.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from iscsitools.scsi.core.nexus import Nexus


class ReservationType(IntEnum):
    """Persistent reservation types (SPC-4 table 71)."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8


WRITE_EXCLUSIVE_TYPES = frozenset({1, 5, 7})
FOR_REGISTRANTS = frozenset({5, 6, 7, 8})
_ALL_REGISTRANTS = frozenset({7, 8})


class Port(NamedTuple):
    """An I_T nexus as a reservation remembers it, also while no session is there."""

    initiator_port: str
    target_port: int

    @classmethod
    def of(cls, nexus: Nexus) -> Port:
        """The nexus's names."""
        return cls(nexus.initiator_port, nexus.target_port)


class Registrations:
    """Registered keys, and the reservation. ``holder`` is None while the type is one for all registrants."""

    __slots__ = ("generation", "holder", "keys", "kind")

    def __init__(self) -> None:
        self.keys: dict[Port, int] = {}
        self.kind: ReservationType | None = None
        self.holder: Port | None = None
        self.generation = 0

    @property
    def for_all(self) -> bool:
        """Whether every registrant holds the reservation."""
        return self.kind in _ALL_REGISTRANTS

    def holds(self, port: Port) -> bool:
        """Whether the reservation is (also) this port's."""
        return self.kind is not None and (port == self.holder or (self.for_all and port in self.keys))

    def permits(self, port: Port, reads: bool) -> bool:
        """Whether a command that only reads, or one that may write, is allowed (SPC-4 table 66)."""
        if self.kind is None or port == self.holder:
            return True
        if self.kind in FOR_REGISTRANTS and port in self.keys:
            return True
        return reads and self.kind in WRITE_EXCLUSIVE_TYPES

    def reserve(self, port: Port, kind: ReservationType) -> None:
        """Make the reservation, in place of one that there may be."""
        self.kind = kind
        self.holder = None if kind in _ALL_REGISTRANTS else port

    def release(self) -> None:
        """End the reservation."""
        self.kind = None
        self.holder = None

    def register(self, port: Port, key: int) -> None:
        """Register ``port``, or change its key."""
        self.keys[port] = key
        self.generation += 1

    def unregister(self, port: Port) -> ReservationType | None:
        """End a registration; returns the type of the reservation that ended with it (SPC-4 5.13.11.2)."""
        self.generation += 1
        return self._drop(port)

    def _drop(self, port: Port) -> ReservationType | None:
        del self.keys[port]
        kind = self.kind
        if kind is None or (port != self.holder and not (self.for_all and not self.keys)):
            return None
        self.release()
        return kind

    def clear(self) -> list[Port]:
        """End the reservation and all registrations; returns the ports that were registered."""
        ports = list(self.keys)
        self.keys.clear()
        self.release()
        self.generation += 1
        return ports

    def preempt(self, port: Port, key: int, kind: ReservationType) -> list[Port]:
        """Remove the registrations that have ``key``, or all others when everybody holds the reservation and it is 0.

        If that takes the reservation from its holder, or from all, ``port`` gets one of type ``kind``. Returns the
        ports that lost their registration, never ``port`` itself (SPC-4 5.13.11.2.4).
        """
        takes = (self.for_all and key == 0) or (self.holder is not None and self.keys.get(self.holder) == key)
        lost = [p for p, k in self.keys.items() if p != port and (k == key or (self.for_all and key == 0))]
        for other in lost:
            self._drop(other)
        if takes:
            self.reserve(port, kind)
        self.generation += 1
        return lost

    def move(self, port: Port, to: Port, key: int, unregister: bool) -> None:
        """REGISTER AND MOVE: register ``to`` and give it the reservation, of the same type."""
        self.keys[to] = key
        self.holder = to
        if unregister:
            del self.keys[port]
        self.generation += 1
