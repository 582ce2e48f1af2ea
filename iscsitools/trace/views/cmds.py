"""``cmds``: SCSI commands by name, and how the failed ones ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from iscsitools.trace.sums.histogram import merged, percentile
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.report import INDENT, Column, Report, microseconds, table
from iscsitools.trace.views.width import sentence
from iscsitools.wire.operations import command_name
from iscsitools.wire.scsi import status_name
from iscsitools.wire.sense import sense_text

_CHECK_CONDITION = 0x02
_NAMES = ("command", "count", "bytes", "average_ns", "p99_ns", "max_ns", "check_conditions", "failures")
_COLUMNS = (
    Column("COMMAND", -22),
    Column("COUNT", 8),
    Column("Kbytes", 8),
    Column("AVG(us)", 9, microseconds),
    Column("P99(us)", 9, microseconds),
    Column("MAX(us)", 9, microseconds),
    Column("CHECKS", 6),
)


@dataclass(slots=True)
class _CommandSums:
    count: int = 0
    size: int = 0
    ended: int = 0
    latency: int = 0
    maximum: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    errors: Counter[int] = field(default_factory=Counter)

    def add(self, row: CommandRow) -> None:
        self.count += row.commands
        self.size += row.in_bytes + row.out_bytes
        self.ended += row.ended
        self.latency += row.latency
        self.maximum = max(self.maximum, row.maximum)
        self.histogram = merged([self.histogram, row.histogram])
        self.errors.update(row.errors)

    @property
    def checks(self) -> int:
        """Commands that ended with CHECK CONDITION."""
        return sum(n for error, n in self.errors.items() if error >> 24 == _CHECK_CONDITION)

    @property
    def average(self) -> int:
        return self.latency // self.ended if self.ended else 0

    @property
    def p99(self) -> int:
        """Nanoseconds that 99 of 100 took at most."""
        return min(percentile(self.histogram, 0.99), self.maximum)


def cmds_report(snapshot: Snapshot, elapsed: int) -> Report:
    """The most frequent command first; then each way of failing, by rising count."""
    sums: dict[str, _CommandSums] = {}
    for row in snapshot.commands:
        sums.setdefault(_name(row), _CommandSums()).add(row)
    order = sorted(sums, key=lambda name: (-sums[name].count, name))
    exact = []
    rows = []
    failures: list[tuple[int, str, str]] = []
    for name in order:
        s = sums[name]
        failed = {failure_text(error): n for error, n in sorted(s.errors.items())}
        exact.append((name, s.count, s.size, s.average, s.p99, s.maximum, s.checks, failed))
        rows.append((name, s.count, s.size // 1024, s.average, s.p99, s.maximum, s.checks))
        failures += [(n, name, text) for text, n in failed.items()]
    lines = table(_COLUMNS, rows)
    if failures:
        lines += ["", "   Failed commands"]
        for count, name, text in sorted(failures):
            lines += sentence(f"{count:>8} {name}: {text}", INDENT, " " * 14)
    return Report(_NAMES, exact, lines)


def _name(row: CommandRow) -> str:
    if row.opcode is None:
        return "(begun before tracing)"
    return command_name(row.opcode, row.service_action)


def failure_text(error: int) -> str:
    """An error of a snapshot in words: (iSCSI response << 8 | SCSI status) << 24 | sense. Sense implies its status."""
    outcome, sense = error >> 24, error & 0xFFFFFF
    if outcome >> 8:
        return f"iSCSI response {outcome >> 8:02x}h"
    return sense_text(sense) if sense else status_name(outcome)
