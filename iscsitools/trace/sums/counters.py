"""The counters that the sums are made of, and what is kept of a connection to count in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from iscsitools.trace.sums import histogram
from iscsitools.trace.sums.buckets import Buckets
from iscsitools.trace.sums.busy import Spans

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
    spans: Spans = ()
    """What its commands make busy, where that is kept."""

    def fold(self) -> None:
        """Work in what is recent."""
        if self.recent:
            self.take_times(self.recent)
            self.recent.clear()

    def take_times(self, latencies: Sequence[int]) -> dict[int, int]:
        """Count commands that ended well; returns how many there were in each bucket of latencies."""
        counts = histogram.count(latencies)
        self.ended += len(latencies)
        self.latency += sum(latencies)
        if max(counts) >= histogram.index_of(self.maximum):
            self.maximum = max(self.maximum, max(latencies))
        self.histogram.update(counts)
        return counts

    def take_moved(self, sizes: Sequence[int]) -> None:
        """Count commands that were answered at once, with what they moved."""
        count, size = len(sizes), sum(sizes)
        self.commands += count
        if self.writes:
            self.out_pdus += count
            self.out_bytes += size
        else:
            self.in_pdus += count
            self.in_bytes += size

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
        """Whether anything was counted; a command that ended before may have gone through its last phase since."""
        counted = self.commands or self.ended or self.failed or self.in_pdus or self.out_pdus
        return bool(counted) or any(buckets.counts for buckets in self.histograms)

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
