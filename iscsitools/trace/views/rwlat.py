"""``rwlat``: read and write latency by client, as ``quantize`` prints it, and as percentiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from iscsitools.trace.selection import address_of
from iscsitools.trace.sums.histogram import merged, percentile
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.quantize import keyed_quantize, weight
from iscsitools.trace.views.report import INDENT, Column, Report, microseconds, table
from iscsitools.trace.views.width import sentence

OPERATIONS: Final = ("read", "write")
PERCENTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_NAMES: Final = (
    "client", "event", "count", "failed", "average_ns", *(f"{name}_ns" for name, _ in PERCENTILES), "max_ns",
)  # fmt: skip


@dataclass(slots=True)
class _Latency:
    ended: int = 0
    latency: int = 0
    maximum: int = 0
    failed: int = 0
    histogram: dict[int, int] = field(default_factory=dict)

    def add(self, row: CommandRow) -> None:
        self.ended += row.ended
        self.latency += row.latency
        self.maximum = max(self.maximum, row.maximum)
        self.failed += row.failed
        self.histogram = merged([self.histogram, row.histogram])

    @property
    def average(self) -> int:
        return self.latency // self.ended if self.ended else 0

    def percentile(self, share: float) -> int:
        return min(percentile(self.histogram, share), self.maximum)


def _latencies(rows: Iterable[CommandRow]) -> dict[tuple[str, str], _Latency]:
    """By client and operation; a command with neither the R nor the W flag is neither."""
    sums: dict[tuple[str, str], _Latency] = {}
    for row in rows:
        if row.reads or row.writes:
            key = (address_of(row.conn.remote), "write" if row.writes else "read")
            sums.setdefault(key, _Latency()).add(row)
    return {key: sums[key] for key in sorted(sums)}


def rwlat_report(snapshot: Snapshot, elapsed: int) -> Report:
    """The distributions, as iscsirwlat's ``quantize`` prints them, reads first."""
    sums = _latencies(snapshot.commands)
    lines: list[str] = []
    for operation in OPERATIONS:
        lines.append(f"{operation.capitalize()} Latency (ns),")
        clients = [(c, s) for (c, o), s in sums.items() if o == operation and s.ended]
        for client, latency in sorted(clients, key=lambda item: (weight(item[1].histogram), item[0])):
            lines += keyed_quantize(client, latency.histogram)
        lines.append("")
    return Report(_NAMES, _exact(sums), lines + _failures(sums))


def percentile_report(snapshot: Snapshot, elapsed: int) -> Report:
    """p50, p90, p99, p99.9 and the maximum, a row per client and operation, in microseconds."""
    sums = _latencies(snapshot.commands)
    columns = [Column("REMOTE IP", -16), Column("EVENT", -5), Column("COUNT", 8)]
    columns += [Column(name, 8, microseconds) for name in (*(name for name, _ in PERCENTILES), "max")]
    rows = [
        (client, operation, s.ended, *(s.percentile(share) for _, share in PERCENTILES), s.maximum)
        for (client, operation), s in sums.items()
    ]
    return Report(_NAMES, _exact(sums), ["Latency (us)", *table(columns, rows), *_failures(sums)])


def _exact(sums: dict[tuple[str, str], _Latency]) -> list[tuple[Any, ...]]:
    return [
        (client, operation, s.ended, s.failed, s.average, *(s.percentile(share) for _, share in PERCENTILES), s.maximum)
        for (client, operation), s in sums.items()
    ]


def _failures(sums: dict[tuple[str, str], _Latency]) -> list[str]:
    failed = [f"{client}: {s.failed} failed: {operation}" for (client, operation), s in sums.items() if s.failed]
    return [line for text in failed for line in sentence(text, INDENT, INDENT + "  ")]
