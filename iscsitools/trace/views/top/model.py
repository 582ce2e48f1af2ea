"""What ``top`` shows: rates of the last interval by client, target and LUN, of any number of servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from iscsitools.trace.histogram import merged, percentile

HISTORY: Final = 60_000_000_000
"""Nanoseconds that a row's graph covers."""


class RowKey(NamedTuple):
    """Whose counters: of which server, client (address), target and unit."""

    server: str
    client: str
    target: str
    lun: int


@dataclass(slots=True)
class Counters:
    """Sums since tracing began; ``in_flight`` is as it is now. Bytes, nanoseconds."""

    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    timed: int = 0
    """Commands whose latency is in ``latency`` and ``histogram``."""
    latency: int = 0
    errors: int = 0
    in_flight: int = 0
    histogram: dict[int, int] = field(default_factory=dict)

    def add(self, other: Counters) -> None:
        """Add another's sums."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.in_flight += other.in_flight
        self.histogram = merged([self.histogram, other.histogram])

    def since(self, before: Counters) -> Counters:
        """What came on top of ``before``."""
        values = {name: max(getattr(self, name) - getattr(before, name), 0) for name in _SUMS}
        histogram = {i: n - before.histogram.get(i, 0) for i, n in self.histogram.items()}
        return Counters(**values, in_flight=self.in_flight, histogram=histogram)


_SUMS: Final = ("reads", "writes", "read_bytes", "write_bytes", "timed", "latency", "errors")


@dataclass(slots=True)
class Sample:
    """One server at one time (its clock, nanoseconds). ``cpu``: seconds of CPU that its process has used."""

    time: int
    rows: Mapping[RowKey, Counters]
    sessions: int = 0
    cpu: float = 0.0
    drops: int = 0


@dataclass(slots=True)
class Row:
    """A line of the screen: rates per second, latencies in nanoseconds; ``graph``: commands/s, oldest first."""

    key: tuple[str, ...]
    reads: float
    writes: float
    read_kb: float
    write_kb: float
    average: float
    p99: float
    in_flight: int
    errors: int
    graph: list[float]

    @property
    def rate(self) -> float:
        """Commands per second."""
        return self.reads + self.writes


@dataclass(slots=True)
class ServerLine:
    """What the header says of a server. ``cpu`` is a fraction of one processor."""

    name: str
    up: bool
    sessions: int = 0
    cpu: float = 0.0
    drops: int = 0


GROUPS: Final[dict[str, tuple[tuple[str, ...], Callable[[RowKey], tuple[str, ...]]]]] = {
    "client, target, LUN": (("CLIENT", "TARGET", "LUN"), lambda k: (k.client, k.target, str(k.lun))),
    "client": (("CLIENT",), lambda k: (k.client,)),
    "target": (("TARGET",), lambda k: (k.target,)),
    "target, LUN": (("TARGET", "LUN"), lambda k: (k.target, str(k.lun))),
    "server": (("SERVER",), lambda k: (k.server,)),
}
"""The groupings by name: the headings of the key columns, and a row's key."""

SORTS: Final[dict[str, Callable[[Row], float]]] = {
    "R/s": lambda row: row.reads,
    "W/s": lambda row: row.writes,
    "RKB/s": lambda row: row.read_kb,
    "WKB/s": lambda row: row.write_kb,
    "AVG": lambda row: row.average,
    "P99": lambda row: row.p99,
    "QD": lambda row: row.in_flight,
    "ERR": lambda row: row.errors,
    "ALL/s": lambda row: row.rate,
}
"""What rows can be sorted by; the last is no column, but their whole."""


@dataclass(slots=True)
class _Server:
    up: bool = True
    before: Sample | None = None
    now: Sample | None = None
    history: dict[RowKey, deque[tuple[int, float]]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The length of the last interval."""
        if self.before is None or self.now is None:
            return 0.0
        return (self.now.time - self.before.time) / 1e9


class TopModel:
    """Keeps the last two samples of each server and a minute of history."""

    def __init__(self) -> None:
        self._servers: dict[str, _Server] = {}

    def update(self, server: str, sample: Sample) -> None:
        """Take a sample; the first one after a (re)start gives no rates yet."""
        state = self._servers.setdefault(server, _Server())
        state.up = True
        state.before, state.now = state.now, sample
        if state.before is None:
            return
        for key, counters in sample.rows.items():
            delta = counters.since(state.before.rows.get(key, Counters()))
            points = state.history.setdefault(key, deque())
            points.append((sample.time, (delta.reads + delta.writes) / (state.seconds or 1.0)))
            while points[0][0] <= sample.time - HISTORY:
                points.popleft()

    def lost(self, server: str) -> None:
        """The server went away; its graphs stay, its counters will begin anew."""
        state = self._servers.setdefault(server, _Server())
        state.up = False
        state.before = state.now = None
        state.history.clear()

    def servers(self) -> list[ServerLine]:
        """A header line for each server."""
        lines = []
        for name, state in sorted(self._servers.items()):
            line = ServerLine(name, state.up)
            if state.now is not None:
                line.sessions, line.drops = state.now.sessions, state.now.drops
                if state.before is not None and state.seconds:
                    line.cpu = (state.now.cpu - state.before.cpu) / state.seconds
            lines.append(line)
        return lines

    def rows(self, group: str = "client, target, LUN", text: str = "") -> list[Row]:
        """A row per key of the grouping; only those whose key contains ``text``, in any case of letters."""
        key_of = GROUPS[group][1]
        merged: dict[tuple[str, ...], list[tuple[_Server, RowKey]]] = {}
        for state in self._servers.values():
            for key in state.now.rows if state.now is not None else ():
                if text.lower() in " ".join(map(str, key)).lower():
                    merged.setdefault(key_of(key), []).append((state, key))
        return [_row(key, parts) for key, parts in sorted(merged.items())]

    def total(self, text: str = "") -> Row:
        """All rows together."""
        keys = [
            (state, key)
            for state in self._servers.values()
            if state.now is not None
            for key in state.now.rows
            if text.lower() in " ".join(map(str, key)).lower()
        ]
        return _row(("total",), keys)


def _row(name: tuple[str, ...], parts: Iterable[tuple[_Server, RowKey]]) -> Row:
    """Rates over each server's own last interval, added up."""
    row = Row(name, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, [])
    whole = Counters()
    series: list[deque[tuple[int, float]]] = []
    for state, key in parts:
        assert state.now is not None
        counters = state.now.rows[key]
        row.errors += counters.errors
        row.in_flight += counters.in_flight
        if state.before is None or not state.seconds:
            continue
        delta = counters.since(state.before.rows.get(key, Counters()))
        row.reads += delta.reads / state.seconds
        row.writes += delta.writes / state.seconds
        row.read_kb += delta.read_bytes / 1024 / state.seconds
        row.write_kb += delta.write_bytes / 1024 / state.seconds
        whole.add(delta)
        series.append(state.history.get(key, deque()))
    row.average = whole.latency / whole.timed if whole.timed else 0.0
    row.p99 = percentile(whole.histogram, 0.99)
    row.graph = _added(series)
    return row


def _added(series: Iterable[deque[tuple[int, float]]]) -> list[float]:
    """Series added point by point from the newest one back."""
    added: list[float] = []
    for points in series:
        values = [rate for _, rate in reversed(points)]
        added += [0.0] * (len(values) - len(added))
        for n, value in enumerate(values):
            added[n] += value
    return added[::-1]
