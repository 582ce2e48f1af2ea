"""How long at least one command was under way: of a LUN, and of a client's share in it.

Latencies cannot be added up to that, as commands overlap; so the sums count how many are under way. What is counted has
a *place*, a number, so that the twin in C needs no names. A command is under way as its latency says: from scsi-command
until its status goes into the output, or it is known that it gets none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.selection import address_of

MOST_SCOPES: Final = 4096
"""Kept at once; commands of further ones are not counted, as the names are the initiators'."""
NOWHERE: Final = 0
"""The place of those."""


class Scope(NamedTuple):
    """Whose commands. ``client``: an address, or empty for those of all."""

    client: str
    target: str
    lun: int


@dataclass(slots=True)
class _Named:
    place: int
    users: int = 0
    """Connections that have commands of it."""


@dataclass(slots=True)
class Scopes:
    """The places of scopes. One is given away again when its connections are gone and its time has been read."""

    _names: dict[Scope, _Named] = field(default_factory=dict)
    _joined: dict[int, list[Scope]] = field(default_factory=dict)
    """By connection."""
    _free: list[int] = field(default_factory=list)
    places: int = 1
    """How many there are, :data:`NOWHERE` included."""

    def join(self, info: ConnectionInfo, lun: int) -> tuple[int, int]:
        """The places in which a connection's commands to a LUN count; the first time that it has one."""
        client = address_of(info.remote)
        scopes = Scope("", info.target, lun), Scope(client, info.target, lun)
        if len(self._names) + len(scopes) > MOST_SCOPES:
            return NOWHERE, NOWHERE
        self._joined.setdefault(info.ident, []).extend(scopes)
        one, other = map(self._use, scopes)
        return one, other

    def _use(self, scope: Scope) -> int:
        named = self._names.get(scope)
        if named is None:
            if not self._free:
                self._free.append(self.places)
                self.places += 1
            named = self._names[scope] = _Named(self._free.pop())
        named.users += 1
        return named.place

    def leave(self, ident: int) -> None:
        """A connection is no more."""
        for scope in self._joined.pop(ident, ()):
            self._names[scope].users -= 1

    def named(self, times: Sequence[int]) -> dict[Scope, int]:
        """Times by place as times by name, without those that are 0."""
        return {scope: times[named.place] for scope, named in self._names.items() if times[named.place]}

    def was_read(self) -> None:
        """All times are 0 again."""
        for scope, named in list(self._names.items()):
            if not named.users:
                self._free.append(named.place)
                del self._names[scope]


@dataclass(slots=True, eq=False)
class Span:
    """The time of one place, in nanoseconds."""

    open: int = 0
    """Commands under way, of those whose events come one by one."""
    since: int = 0
    """When the first of them began, or :meth:`settle` was called."""
    total: int = 0

    def settle(self, now: int) -> int:
        """Count the time until now of what is under way; return the sum."""
        if self.open:
            self.total += max(now - self.since, 0)
            self.since = now
        return self.total


Spans = tuple[Span, ...]


def begin_all(spans: Spans, now: int) -> None:
    """A command has begun."""
    for span in spans:
        if not span.open:
            span.since = now
        span.open += 1


def end_all(spans: Spans, now: int) -> None:
    """One has ended."""
    for span in spans:
        span.open -= 1
        if not span.open:
            span.total += max(now - span.since, 0)


class BusyTimes:
    """The times of all places, where sums are kept in Python."""

    def __init__(self) -> None:
        self._scopes = Scopes()
        self._spans: list[Span] = [Span()]
        self._all = Span()

    def join(self, info: ConnectionInfo, lun: int) -> Spans:
        """See :meth:`Scopes.join`."""
        places = self._scopes.join(info, lun)
        self._spans += (Span() for _ in range(self._scopes.places - len(self._spans)))
        return (*(self._spans[place] for place in places if place != NOWHERE), self._all)

    @property
    def open(self) -> int:
        """How many commands are under way, of whomsoever, of those whose events come one by one."""
        return self._all.open

    def leave(self, ident: int) -> None:
        """A connection is no more."""
        self._scopes.leave(ident)

    def read(self, now: int) -> dict[Scope, int]:
        """The times until now."""
        return self._scopes.named([span.settle(now) for span in self._spans])

    def reset(self) -> None:
        """Begin again from 0, with what was not under way yet at the last :meth:`read`."""
        for span in self._spans:
            span.total = 0
        self._scopes.was_read()


def added(parts: Iterable[dict[Scope, int]]) -> dict[Scope, int]:
    """The times of intervals that follow each other."""
    total: dict[Scope, int] = {}
    for part in parts:
        for scope, time in part.items():
            total[scope] = total.get(scope, 0) + time
    return total
