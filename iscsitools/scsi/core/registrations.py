"""The state of persistent reservations: who is registered, who holds what (SPC-4 5.13).

All of the state is in one object, and nothing but its methods changes it: it can be written down as a text and taken
from one again, so that it outlives a restart (APTPL, SPC-4 5.13.5).
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any, Final, NamedTuple

from iscsitools.scsi.core.nexus import Nexus
from iscsitools.wire.sense import Asc


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
    """Registered keys, and the reservation. ``holder`` is None while the type is one for all registrants.

    ``aptpl``: the last registration asked for all this to outlive a loss of power. ``aborts``: the last change was a
    PREEMPT AND ABORT, so that another server of the disk ends the tasks of those who have lost their registration.
    """

    __slots__ = ("aborts", "aptpl", "generation", "holder", "keys", "kind")

    def __init__(self) -> None:
        self.keys: dict[Port, int] = {}
        self.kind: ReservationType | None = None
        self.holder: Port | None = None
        self.generation = 0
        self.aptpl = False
        self.aborts = False

    def copy(self) -> Registrations:
        """The same state, to try a change on."""
        made = Registrations()
        made.become(self)
        made.keys = dict(self.keys)
        return made

    def become(self, other: Registrations) -> None:
        """Be as ``other``, which nobody uses any more."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

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
        self.aborts = False
        self.kind = kind
        self.holder = None if kind in _ALL_REGISTRANTS else port

    def release(self) -> None:
        """End the reservation."""
        self.aborts = False
        self.kind = None
        self.holder = None

    def register(self, ports: list[Port], key: int) -> None:
        """Register ``ports``, or change their key."""
        self.aborts = False
        for port in ports:
            self.keys[port] = key
        self.generation += 1

    def unregister(self, ports: list[Port]) -> list[ReservationType]:
        """End registrations; returns the types of the reservations that ended with them (SPC-4 5.13.11.2)."""
        self.aborts = False
        self.generation += bool(ports)
        return [kind for port in ports if (kind := self._drop(port)) is not None]

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

    def preempt(self, port: Port, key: int, kind: ReservationType, aborts: bool = False) -> list[Port]:
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
        self.aborts = aborts
        return lost

    def move(self, port: Port, to: Port, key: int, unregister: bool) -> None:
        """REGISTER AND MOVE: register ``to`` and give it the reservation, of the same type."""
        self.aborts = False
        self.keys[to] = key
        self.holder = to
        if unregister:
            del self.keys[port]
        self.generation += 1

    def lost_since(self, before: Registrations) -> dict[Port, Asc]:
        """What ports are told of a change that another server has made (SPC-4 5.13.11.2).

        A registration that is gone was taken: who ends his own does it where he is.
        """
        gone = Asc.REGISTRATIONS_PREEMPTED if self.keys else Asc.RESERVATIONS_PREEMPTED
        told = {port: gone for port in before.keys if port not in self.keys}
        if before.kind in FOR_REGISTRANTS and self.kind != before.kind:
            told |= {port: Asc.RESERVATIONS_RELEASED for port in before.keys if port in self.keys}
        return told

    # To outlive a restart

    def to_text(self) -> str:
        """All but the generation, which begins at 0 after a power on (SPC-4 6.15.2)."""
        holder = None if self.holder is None else list(self.keys).index(self.holder)
        registered = [{**port._asdict(), "key": f"0x{key:016x}"} for port, key in self.keys.items()]
        state = {
            "version": _VERSION,
            "aptpl": self.aptpl,
            "type": self.kind,
            "holder": holder,
            "registered": registered,
        }
        if self.aborts:
            state["aborts"] = True
        return json.dumps(state, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Registrations:
        """What :meth:`to_text` wrote; raises ValueError for anything else."""
        try:
            state = json.loads(text)
            if state["version"] != _VERSION:
                raise ValueError(f"its version is {state['version']}, not {_VERSION}")
            return cls._from_state(state)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no list of registrations ({type(error).__name__}: {error})") from None

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Registrations:
        made = cls()
        made.aptpl = bool(state["aptpl"])
        made.aborts = bool(state.get("aborts", False))
        for entry in state["registered"]:
            made.keys[Port(str(entry["initiator_port"]), int(entry["target_port"]))] = int(entry["key"], 16)
        made.kind = None if state["type"] is None else ReservationType(state["type"])
        if state["holder"] is not None:
            made.holder = list(made.keys)[state["holder"]]
        if (made.holder is None) != (made.kind is None or made.for_all):
            raise ValueError("its reservation has no holder, or a holder has none")
        return made


_VERSION: Final = 1
