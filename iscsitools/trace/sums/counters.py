"""The counters that the sums are made of, and what is kept of a connection to count in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from iscsitools.probes.firing import ConnectionInfo
from iscsitools.trace.sums import histogram
from iscsitools.trace.sums.arrivals import Arrivals
from iscsitools.trace.sums.buckets import Buckets

_SUMMED: Final = (
    "commands", "ended", "latency", "failed", "in_pdus", "in_bytes", "out_pdus", "out_bytes",
)  # fmt: skip
"""The counters that add up."""


@dataclass(slots=True, eq=False)
class Cell:
    """The counters of one connection, LUN and command. ``opcode`` None: data of commands that began before the sums."""

    lun: int
    opcode: int | None = None
    service_action: int | None = None
    reads: bool = False
    writes: bool = False
    commands: int = 0
    ended: int = 0
    latency: int = 0
    maximum: int = 0
    failed: int = 0
    in_pdus: int = 0
    in_bytes: int = 0
    out_pdus: int = 0
    out_bytes: int = 0
    histogram: Counter[int] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    recent: list[int] = field(default_factory=list)
    """Latencies that are not in ``ended``, ``latency``, ``maximum`` and ``histogram`` yet: many at once are cheaper."""
    histograms: tuple[Buckets, ...] = ()
    """Those of ``sums.declared`` that are kept."""
    arrivals: Arrivals | None = None
    """Where its commands wait to be sorted into them, with those of the other cells of its connection and LUN."""
    entries: list[Any] = field(default_factory=list)
    """The list of ``arrivals``: one look less for each command."""

    def fold(self) -> None:
        """Work in what is recent."""
        if self.arrivals is not None:
            self.arrivals.fold()
        if self.recent:
            self.ended += len(self.recent)
            self.latency += sum(self.recent)
            self.maximum = max(self.maximum, *self.recent)
            self.histogram.update(histogram.buckets(self.recent))
            self.recent.clear()

    def copy(self) -> Cell:
        """The same counts, which stay as they are."""
        other = Cell(self.lun, self.opcode, self.service_action, self.reads, self.writes)
        other.histograms = tuple(buckets.empty() for buckets in self.histograms)
        other.add(self)
        return other

    def add(self, other: Cell) -> None:
        """Add the counts of another cell of the same command; nothing of it is recent."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.maximum = max(self.maximum, other.maximum)
        self.histogram.update(other.histogram)
        self.errors.update(other.errors)
        for mine, theirs in zip(self.histograms, other.histograms, strict=True):
            mine.add_sorted(theirs.shift, theirs.counts)

    @property
    def used(self) -> bool:
        """Whether anything was counted."""
        return bool(self.commands or self.ended or self.failed or self.in_pdus or self.out_pdus)

    def reset(self) -> None:
        """Begin again from 0."""
        self.commands = self.ended = self.latency = self.maximum = self.failed = 0
        self.in_pdus = self.in_bytes = self.out_pdus = self.out_bytes = 0
        self.histogram = Counter()
        self.errors = Counter()
        for buckets in self.histograms:
            buckets.reset()


Starts = dict[int, tuple[int, Cell]]
Key = tuple[int, int | None, int | None, int]


@dataclass(slots=True, eq=False)
class ConnectionCells:
    """What the sums keep of one connection."""

    info: ConnectionInfo
    generation: int = -1
    admitted: bool = False
    cells: dict[Key, Cell] = field(default_factory=dict)
    """By LUN, operation code, service action and direction."""
    aliases: dict[int, Cell] = field(default_factory=dict)
    """The same cells by LUN << 16 | operation code << 8 | flags: the hot path's key."""
    fast: dict[int, Cell] = field(default_factory=dict)
    """The same cells by LUN << 16 | the first two bytes of the CDB: of what the fast path answers."""
    starts: Starts = field(default_factory=dict)
    arrivals: dict[int, Arrivals] = field(default_factory=dict)
    """By LUN, where more than latencies are kept."""
    answered: int | None = None
    """The StatSN of the last answer that was seen."""
    functions: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Unanswered task management functions by ITT: function, LUN, Referenced Task Tag."""

    def forget(self, itt: int) -> None:
        """A command gets no status."""
        self.starts.pop(itt, None)

    def forget_all(self, lun: int | None) -> None:
        """No command to a LUN, or to any, gets one."""
        for tag in [tag for tag, (_, cell) in self.starts.items() if lun is None or cell.lun == lun]:
            del self.starts[tag]
