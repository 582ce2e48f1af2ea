"""``size``, ``seek`` and ``queue``: what is asked for, where, and how much at a time, as distributions.

Made of the histograms that the sums keep when they are asked to (:mod:`iscsitools.trace.sums.declared`), a row for each
client, target, unit and operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from iscsitools.probes.lun import lun_text
from iscsitools.trace.selection import address_of
from iscsitools.trace.sums.histogram import lower_bound, merged, value_at
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.quantize import keyed_quantize
from iscsitools.trace.views.report import Column, Report, table
from iscsitools.trace.views.width import fold

SHARES: Final = (("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
_KEYS: Final = ("client", "target", "lun", "event")


@dataclass(frozen=True, slots=True)
class DistributionKind:
    """One of the three: the histogram's name in the sums, and what stands above it."""

    histogram: str
    title: str


SIZE: Final = DistributionKind("size", "Request Size (bytes)")
SEEK: Final = DistributionKind("seek", "Seek Distance (blocks)")
QUEUE: Final = DistributionKind("depth", "Queue Depth (commands)")


class DistributionKey(NamedTuple):
    """Whose distribution it is. ``event``: read, write, or other for a command with neither flag."""

    client: str
    target: str
    lun: int
    event: str

    def text(self, targets: bool) -> str:
        """In words, with the target where there are several."""
        where = f"{self.target} LUN {lun_text(self.lun)}" if targets else f"LUN {lun_text(self.lun)}"
        return f"{self.client}, {where}, {self.event}"


Distributions = Mapping[DistributionKey, Mapping[int, int]]


def distributions(snapshot: Snapshot, kind: DistributionKind) -> Distributions:
    """The histograms of a snapshot by key, in order; those without a value are left out."""
    sums: dict[DistributionKey, dict[int, int]] = {}
    for row in snapshot.commands:
        counts = row.histograms[kind.histogram].counts if kind.histogram in row.histograms else {}
        if counts:
            key = _key(row)
            sums[key] = merged([sums.get(key, {}), counts])
    return {key: sums[key] for key in sorted(sums)}


def _key(row: CommandRow) -> DistributionKey:
    event = "read" if row.reads else "write" if row.writes else "other"
    return DistributionKey(address_of(row.conn.remote), row.conn.target, row.lun, event)


def distribution_report(snapshot: Snapshot, kind: DistributionKind) -> Report:
    """As ``quantize`` prints them: rows are powers of two, those of negative values named by the bound nearer to 0."""
    found = distributions(snapshot, kind)
    targets = len({key.target for key in found}) > 1
    lines = [f"{kind.title},"]
    for key, histogram in found.items():
        lines += keyed_quantize(key.text(targets), histogram)
    return Report(_names(kind), _exact(found, kind), lines)


def share_report(snapshot: Snapshot, kind: DistributionKind) -> Report:
    """A line for each: p10, p50, p90 and p99; of distances also how many are 0, which is sequential."""
    found = distributions(snapshot, kind)
    columns = [Column("REMOTE IP", -15), Column("LUN", 3, lun_text), Column("EVENT", -5), Column("COUNT", 8)]
    columns += [Column("SEQ%", 5, _percent)] if kind is SEEK else []
    columns += [Column(name, 8) for name, _ in SHARES]
    tables: dict[str, list[list[Any]]] = {}
    for key, histogram in found.items():
        sequential = [_sequential(histogram)] if kind is SEEK else []
        row = [key.client, key.lun, key.event, sum(histogram.values()), *sequential, *_shares(histogram)]
        tables.setdefault(key.target, []).append(row)
    lines = [kind.title]
    for target, rows in tables.items():
        lines += ["", *fold(target, "  "), *table(columns, rows)]
    return Report(_names(kind), _exact(found, kind), lines if tables else [*lines, *table(columns, [])])


def _names(kind: DistributionKind) -> tuple[str, ...]:
    return (*_KEYS, "count", *(("sequential",) if kind is SEEK else ()), *(name for name, _ in SHARES))


def _exact(found: Distributions, kind: DistributionKind) -> list[tuple[Any, ...]]:
    return [
        (*key, sum(counts.values()), *((counts.get(0, 0),) if kind is SEEK else ()), *_shares(counts))
        for key, counts in found.items()
    ]


def _shares(histogram: Mapping[int, int]) -> list[int]:
    """The lower bounds of the buckets: sizes and small numbers are what buckets begin with, so they are exact."""
    return [int(lower_bound(value_at(histogram, share))) for _, share in SHARES]


def _sequential(histogram: Mapping[int, int]) -> float:
    return histogram.get(0, 0) / sum(histogram.values())


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
