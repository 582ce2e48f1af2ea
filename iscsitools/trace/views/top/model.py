"""What ``top`` shows: rates of the last interval by client, target and LUN, of any number of servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from iscsitools.probes.lun import lun_text
from iscsitools.trace.sums.busy import Scope
from iscsitools.trace.sums.histogram import merged, percentile
from iscsitools.trace.views.top.past import CELLS, KEPT, MOST_KEPT, SECOND, Point, Series, add_history


class RowKey(NamedTuple):
    """Whose counters: of which server, client (address), target, unit and session."""

    server: str
    client: str
    target: str
    lun: int
    session: str = ""
    """The initiator's name and the TSIH; empty where they are not known."""


@dataclass(slots=True)
class Counters:
    """Sums over one interval. Bytes, nanoseconds."""

    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    timed: int = 0
    """Commands whose latency is in ``latency`` and ``histogram``."""
    latency: int = 0
    errors: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    read_timed: int = 0
    """Of ``timed``, ``latency`` and ``histogram`` what is of reads; the next ones of writes."""
    read_latency: int = 0
    read_histogram: dict[int, int] = field(default_factory=dict)
    write_timed: int = 0
    write_latency: int = 0
    write_histogram: dict[int, int] = field(default_factory=dict)
    flushes: int = 0
    unmaps: int = 0
    backstore_histogram: dict[int, int] = field(default_factory=dict)
    """These three: the phases of those commands that read or write, where they were asked for."""
    waiting_histogram: dict[int, int] = field(default_factory=dict)
    sending_histogram: dict[int, int] = field(default_factory=dict)

    def add(self, other: Counters) -> None:
        """Add another's sums."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _HISTOGRAMS:
            setattr(self, name, merged([getattr(self, name), getattr(other, name)]))


_SUMS: Final = (
    "reads", "writes", "read_bytes", "write_bytes", "timed", "latency", "errors", "read_timed", "read_latency",
    "write_timed", "write_latency", "flushes", "unmaps",
)  # fmt: skip
_HISTOGRAMS: Final = (
    "histogram", "read_histogram", "write_histogram", "backstore_histogram", "waiting_histogram", "sending_histogram",
)  # fmt: skip


class Cpu(NamedTuple):
    """Processor time that a server's process has used so far, in seconds, and when (nanoseconds of its clock)."""

    time: int
    seconds: float


@dataclass(slots=True)
class Sample:
    """One server from ``since`` to ``time`` (nanoseconds of its clock)."""

    since: int
    time: int
    rows: Mapping[RowKey, Counters]
    in_flight: Mapping[RowKey, int] = field(default_factory=dict)
    """Commands under way at ``time``: by the server's own count; of a recording by its events."""
    sessions: int | None = None
    """How many the server has; None while that is not known."""
    cpu: Cpu | None = None
    drops: int = 0
    faulty: frozenset[tuple[str, int]] = frozenset()
    """Target and number of the units that have faults set."""
    cpu_before: Cpu | None = None
    """``cpu`` when the interval began, of a server's first one."""
    busy: Mapping[Scope, int] | None = None
    """Nanoseconds in which something was under way; None: that was not asked for, or an older server does not know."""


@dataclass(slots=True)
class Row:
    """A line of the screen: rates per second, latencies in nanoseconds.

    ``graph``: commands per second in each second of the last minute, oldest first.
    """

    key: tuple[str, ...]
    reads: float = 0.0
    writes: float = 0.0
    read_kb: float = 0.0
    write_kb: float = 0.0
    average: float = 0.0
    p99: float = 0.0
    in_flight: int = 0
    queue: float = 0.0
    """Commands under way on average: what their latencies in a second add up to."""
    flushes: float = 0.0
    unmaps: float = 0.0
    busy: float | None = None
    """The part of the time in which its busiest LUN had a command of its under way."""
    errors: int = 0
    """Since the row appeared."""
    faulty: bool = False
    """Of a unit that has faults set."""
    graph: list[float] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    """The exact sums of the last interval."""

    @property
    def rate(self) -> float:
        """Commands per second."""
        return self.reads + self.writes


@dataclass(slots=True)
class ServerLine:
    """What the header says of a server. ``cpu`` is a fraction of one processor. None: it is not known."""

    name: str
    up: bool
    sessions: int | None = None
    cpu: float | None = None
    drops: int = 0


GROUPS: Final[dict[str, tuple[tuple[str, ...], Callable[[RowKey], tuple[str, ...]]]]] = {
    "client, target, LUN": (("CLIENT", "TARGET", "LUN"), lambda k: (k.client, k.target, str(k.lun))),
    "client": (("CLIENT",), lambda k: (k.client,)),
    "target": (("TARGET",), lambda k: (k.target,)),
    "target, LUN": (("TARGET", "LUN"), lambda k: (k.target, str(k.lun))),
    "server": (("SERVER",), lambda k: (k.server,)),
    "session": (("SESSION", "TARGET"), lambda k: (k.session, k.target)),
}
"""The groupings by name: the headings of the key columns, and a row's key."""


@dataclass(slots=True)
class _Server:
    up: bool = True
    cpu: float | None = None
    now: Sample | None = None
    series: dict[RowKey, Series] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The length of the last interval."""
        return (self.now.time - self.now.since) / 1e9 if self.now is not None else 0.0

    def busy(self, key: RowKey, client: str) -> float | None:
        """How busy the LUN of a key was, by what a client sent it, or by all."""
        if self.now is None or self.now.busy is None or not self.seconds:
            return None
        return min(self.now.busy.get(Scope(client, key.target, key.lun), 0) / 1e9 / self.seconds, 1.0)

    def take(self, sample: Sample) -> None:
        before = self.now.cpu if self.now is not None else sample.cpu_before
        if before is not None and sample.cpu is not None and sample.cpu.time > before.time:
            self.cpu = (sample.cpu.seconds - before.seconds) / ((sample.cpu.time - before.time) / 1e9)
        self.now = sample
        self.up = True
        for key in sample.rows.keys() | sample.in_flight.keys():
            self.series.setdefault(key, Series())
        kept = max(CELLS, min(KEPT, MOST_KEPT // max(len(self.series), 1)))
        for key, series in list(self.series.items()):
            counters = sample.rows.get(key, Counters())
            series.errors += counters.errors
            rate = (counters.reads + counters.writes) / (self.seconds or 1.0)
            series.points.append(Point(sample.time, self.seconds, rate, counters.histogram))
            series.forget(sample.time, kept)
            if sample.in_flight.get(key) or any(getattr(counters, name) for name in _SUMS):
                series.seen = sample.time
            elif sample.time - series.seen >= CELLS * SECOND:
                del self.series[key]


class TopModel:
    """Keeps the last sample of each server, a minute of history, and half an hour of latencies."""

    def __init__(self) -> None:
        self._servers: dict[str, _Server] = {}

    def update(self, server: str, sample: Sample | None) -> None:
        """Take the sample of the interval that has just ended; None: the server is gone, only its line stays."""
        if sample is None:
            self._servers[server] = _Server(up=False)
        else:
            self._servers.setdefault(server, _Server()).take(sample)

    def servers(self) -> list[ServerLine]:
        """A header line for each server."""
        lines = []
        for name, state in sorted(self._servers.items()):
            line = ServerLine(name, state.up, cpu=state.cpu)
            if state.now is not None:
                line.sessions, line.drops = state.now.sessions, state.now.drops
            lines.append(line)
        return lines

    def rows(self, group: str = "client, target, LUN", text: str = "") -> list[Row]:
        """A row per key of the grouping, of what contains ``text`` (in any case of letters) in server to LUN."""
        key_of = GROUPS[group][1]
        merged_keys: dict[tuple[str, ...], list[tuple[_Server, RowKey]]] = {}
        for state, key in self._keys(text):
            merged_keys.setdefault(key_of(key), []).append((state, key))
        of_all = "CLIENT" not in GROUPS[group][0] and "SESSION" not in GROUPS[group][0]
        return [_row(key, parts, of_all) for key, parts in sorted(merged_keys.items())]

    def parts(self, group: str, key: tuple[str, ...], text: str = "") -> list[Row]:
        """What a row of a grouping is made of: their first keys say what of client, target and LUN its own does not.

        The other keys of these rows are empty. A row that cannot be taken apart has none.
        """
        headings, key_of = GROUPS[group]
        found: dict[str, list[tuple[_Server, RowKey]]] = {}
        for state, part in self._keys(text):
            if key_of(part) == key:
                found.setdefault(_rest(part, headings), []).append((state, part))
        found.pop("", None)
        return [_row((name, *[""] * (len(headings) - 1)), parts) for name, parts in sorted(found.items())]

    def history(
        self, group: str, key: tuple[str, ...], text: str = "", back: int = 0, cells: int = CELLS
    ) -> list[dict[int, int]]:
        """The latencies of a row in each of the seconds until ``back`` seconds ago, oldest first, by powers of two."""
        seconds: list[dict[int, int]] = [{} for _ in range(cells)]
        for state, part in self._keys(text):
            if state.now is None or GROUPS[group][1](part) != key:
                continue
            for age, counts in state.series[part].latencies(state.now.time, range(back, back + cells)):
                seconds[back - 1 - age] = merged([seconds[back - 1 - age], counts])
        return seconds

    def total(self, text: str = "") -> Row:
        """All rows together."""
        return _row(("total",), self._keys(text), of_all=True)

    def _keys(self, text: str) -> list[tuple[_Server, RowKey]]:
        return [
            (state, key)
            for state in self._servers.values()
            for key in state.series
            if text.lower() in " ".join(map(str, key)).lower()
        ]


def _rest(key: RowKey, headings: tuple[str, ...]) -> str:
    """What the headings do not say of a key."""
    names = [] if "CLIENT" in headings else [key.client]
    names += [] if "TARGET" in headings else [key.target.partition(":")[2] or key.target]
    names += [] if "LUN" in headings else [f"LUN {lun_text(key.lun)}"]
    return " ".join(names) or key.session


def _row(name: tuple[str, ...], parts: Iterable[tuple[_Server, RowKey]], of_all: bool = False) -> Row:
    """Rates over each server's own last interval, added up. ``of_all``: busy is what all clients make the LUNs."""
    row = Row(name)
    row.graph = [0.0] * CELLS
    for state, key in parts:
        if state.now is None:
            continue
        counters = state.now.rows.get(key, Counters())
        seconds = state.seconds or 1.0
        row.counters.add(counters)
        row.reads += counters.reads / seconds
        row.writes += counters.writes / seconds
        row.read_kb += counters.read_bytes / 1024 / seconds
        row.write_kb += counters.write_bytes / 1024 / seconds
        row.in_flight += state.now.in_flight.get(key, 0)
        row.queue += counters.latency / 1e9 / seconds
        row.flushes += counters.flushes / seconds
        row.unmaps += counters.unmaps / seconds
        busy = state.busy(key, "" if of_all else key.client)
        row.busy = busy if row.busy is None else max(row.busy, busy or 0.0)
        row.errors += state.series[key].errors
        row.faulty |= (key.target, key.lun) in state.now.faulty
        add_history(row.graph, state.series[key].points, state.now.time)
    if row.counters.timed:
        row.average = row.counters.latency / row.counters.timed
    row.p99 = percentile(row.counters.histogram, 0.99)
    return row
