"""``rwlat --phases --percentiles``: how the time divides, of the slowest commands too, out of the sums."""

from __future__ import annotations

from typing import Any, Final

from iscsitools.probes.lun import lun_text
from iscsitools.trace.selection import address_of
from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.sums.histogram import merged, percentile
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.report import Column, Report, microseconds, table
from iscsitools.trace.views.rwlat import PERCENTILES
from iscsitools.trace.views.width import fold

_NAMES: Final = ("client", "target", "lun", "event", "phase", "count", *(f"{name}_ns" for name, _ in PERCENTILES))
_Key = tuple[str, str, int, str]


def phase_percentile_report(snapshot: Snapshot, elapsed: int) -> Report:
    """A row for each client, unit, operation and phase, a table for each target, in microseconds.

    Reads wait for no data and writes send none: those are left out. A percentile is the middle of its bucket.
    """
    columns = [Column("REMOTE IP", -15), Column("LUN", 3, lun_text), Column("EVENT", -5), Column("PHASE", -9)]
    columns += [Column("COUNT", 7), *(Column(name, 7, microseconds) for name, _ in PERCENTILES)]
    exact: list[tuple[Any, ...]] = []
    tables: dict[str, list[list[Any]]] = {}
    for (target, client, lun, event), phases in sorted(_by_key(snapshot.commands).items()):
        for phase, counts in phases.items():
            shares = [percentile(counts, share) for _, share in PERCENTILES]
            exact.append((client, target, lun, event, phase, sum(counts.values()), *shares))
            tables.setdefault(target, []).append([client, lun, event, phase, sum(counts.values()), *shares])
    lines = ["Time by phase (us)"]
    for target, rows in tables.items():
        lines += ["", *fold(target, "  "), *table(columns, rows)]
    return Report(_NAMES, exact, lines if tables else [*lines, *table(columns, [])])


def _by_key(rows: list[CommandRow]) -> dict[_Key, dict[str, dict[int, int]]]:
    sums: dict[_Key, dict[str, dict[int, int]]] = {}
    for row in rows:
        event = "write" if row.writes else "read" if row.reads else ""
        for phase in PHASES:
            counts = row.histograms[phase].counts if phase in row.histograms else {}
            if event and counts:
                phases = sums.setdefault((row.conn.target, address_of(row.conn.remote), row.lun, event), {})
                phases[phase] = merged([phases.get(phase, {}), counts])
    return sums
