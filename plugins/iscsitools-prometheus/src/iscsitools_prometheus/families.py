"""The metrics: what each is called, what it means, and how it is made of the totals and of the server's status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from iscsitools import __version__
from iscsitools.trace.sums.histogram import powers
from iscsitools.wire.rfc7143 import LoginStatus
from iscsitools.wire.scsi import status_name
from iscsitools.wire.sense import sense_codes
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Sample

from iscsitools_prometheus.pauses import no_pauses
from iscsitools_prometheus.totals import OPERATIONS, Durations, Totals

UNIT: Final = ("initiator", "target", "lun")
BOUNDS: Final = tuple(1 << n for n in range(14, 34))
"""The histogram's bounds in nanoseconds, 16 us to 8.6 s: powers of two, so that they are exact sums of the server's."""


class DurationFamily(HistogramMetricFamily):
    """A histogram that has the server's own buckets, of which native ones are made; its samples are made in pieces."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, labels=labels)
        self.exact: list[tuple[dict[str, str], Durations]] = []
        self._names = tuple(labels)

    def add(self, values: Sequence[str], durations: Durations) -> None:
        """Add one histogram with the values of its labels."""
        self.exact.append((dict(zip(self._names, values, strict=True)), durations))

    def pieces(self) -> Iterator[list[Sample]]:
        """The samples of each histogram: those of hundreds at once would be work for Python's collector."""
        for labels, durations in self.exact:
            one = HistogramMetricFamily(self.name, self.documentation, labels=self._names)
            buckets = [(repr(bound), reached) for bound, reached in reached_of(durations)]
            one.add_metric(list(labels.values()), [*buckets, ("+Inf", durations.count)], durations.seconds)
            yield one.samples


def reached_of(durations: Durations) -> list[tuple[float, int]]:
    """How many commands took less than each of :data:`BOUNDS`, which is given in seconds here."""
    rows = powers(durations.buckets)
    found, reached = [], sum(count for start, count in rows.items() if start < BOUNDS[0])
    for bound in BOUNDS:
        found.append((bound / 1e9, reached))
        reached += rows.get(bound, 0)
    return found


def families(
    totals: Totals,
    status: Mapping[str, Any],
    name: str,
    delay: float,
    lost: int,
    pauses: Callable[[], None] = no_pauses,
) -> Iterator[Metric]:
    """Make all metrics. Lock of ``totals`` held."""
    yield _gauge("iscsi_server_info", "Which server this is.", {"name": name, "version": __version__}, 1)
    yield _gauge("iscsi_server_start_time_seconds", "When it started, seconds since 1970.", {}, status["started"])
    yield from _of_commands(totals, pauses)
    yield _in_flight(totals, status["in_flight"])
    yield _luns(totals)
    yield from _of_logins(totals)
    yield _gauge("iscsi_connections", "Open connections, those that are logging in too.", {}, status["connections"])
    yield _limits(totals, status["limits"])
    drops = CounterMetricFamily(
        "iscsi_trace_drops", "Probe events lost because whoever watched was too slow.", labels=["watcher"]
    )
    for watcher, count in status["drops"].items():
        drops.add_metric([watcher], count)
    yield drops
    yield CounterMetricFamily(
        "iscsi_rows_lost", "Sums of closed connections that were given up before they were scraped.", lost
    )
    yield CounterMetricFamily("iscsi_loop_cpu_seconds", "CPU time of the event loop's thread.", status["loop_cpu"])
    yield CounterMetricFamily("iscsi_process_cpu_seconds", "CPU time of the server's process.", status["cpu"])
    yield _gauge("iscsi_loop_delay_seconds", "How long this scrape's question waited for the event loop.", {}, delay)


def _gauge(name: str, documentation: str, labels: Mapping[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _of_commands(totals: Totals, pauses: Callable[[], None]) -> Iterator[Metric]:
    commands = CounterMetricFamily("iscsi_commands", "SCSI commands received.", labels=[*UNIT, "operation"])
    moved = CounterMetricFamily(
        "iscsi_bytes", "Bytes of data sent (read) and received (write).", labels=[*UNIT, "direction"]
    )
    errors = CounterMetricFamily(
        "iscsi_command_errors", "SCSI commands that ended with a status other than GOOD, by sense key/ASC/ASCQ.",
        labels=[*UNIT, "status", "sense"],
    )  # fmt: skip
    durations = DurationFamily(
        "iscsi_command_duration_seconds", "From a command's PDU to its answer, of commands that ended well.",
        [*UNIT, "operation"],
    )  # fmt: skip
    for unit, group in totals.groups.items():
        pauses()
        for operation in OPERATIONS:
            if group.commands[operation]:
                commands.add_metric([*unit, operation], group.commands[operation])
                durations.add([*unit, operation], group.durations[operation])
        moved.add_metric([*unit, "read"], group.read_bytes)
        moved.add_metric([*unit, "write"], group.written_bytes)
        named: Counter[tuple[str, str]] = Counter()
        for error, count in group.errors.items():
            named[status_text(error >> 24), sense_codes(error & 0xFFFFFF) if error & 0xFFFFFF else ""] += count
        for names, count in named.items():
            errors.add_metric([*unit, *names], count)
    yield from (commands, moved, errors, durations)


def status_text(outcome: int) -> str:
    """The SCSI status, or what iSCSI said in its place (RFC 7143 11.4.3)."""
    return status_name(outcome & 0xFF) if not outcome >> 8 else f"response 0x{outcome >> 8:02x}"


def _in_flight(totals: Totals, entries: Sequence[Mapping[str, Any]]) -> Metric:
    counts: Counter[tuple[str, ...]] = Counter(dict.fromkeys(totals.groups, 0))
    for entry in entries:
        counts[totals.unit_of(entry["initiator"], entry["target"], entry["lun"])] += entry["commands"]
    family = GaugeMetricFamily("iscsi_commands_in_flight", "SCSI commands under way.", labels=UNIT)
    for unit, count in counts.items():
        family.add_metric(unit, count)
    return family


def _luns(totals: Totals) -> Metric:
    family = GaugeMetricFamily("iscsi_lun_info", "The logical units.", labels=["target", "lun", "backstore"])
    for (target, number), lun in totals.luns.items():
        family.add_metric([target, number, lun.backstore], 1)
    return family


def _of_logins(totals: Totals) -> Iterator[Metric]:
    sessions = GaugeMetricFamily(
        "iscsi_sessions", "Sessions; without a target: discovery.", labels=["initiator", "target"]
    )
    for names, count in totals.sessions.items():
        sessions.add_metric(names, count)
    failed = CounterMetricFamily(
        "iscsi_logins_failed", "Logins refused, by status (RFC 7143 11.13.5).", labels=["status"]
    )
    # Those that have not come yet too: a series that begins with 1 has not risen, for whoever waits for that.
    for status in {*LoginStatus, *totals.failed_logins} - {LoginStatus.SUCCESS}:
        failed.add_metric([login_status_text(status)], totals.failed_logins[status])
    yield from (sessions, CounterMetricFamily("iscsi_logins", "Sessions that have begun.", totals.logins), failed)


def login_status_text(status: int) -> str:
    """``authentication failure`` for 0x0201."""
    try:
        return LoginStatus(status).name.lower().replace("_", " ")
    except ValueError:
        return f"0x{status:04x}"


def _limits(totals: Totals, reached: Mapping[str, int]) -> Metric:
    counts = Counter(reached)
    counts["queue_depth"] += totals.queue_full
    family = CounterMetricFamily(
        "iscsi_limits_reached",
        "How often a limit kept somebody out, by its name in the configuration.",
        labels=["limit"],
    )
    for limit, count in counts.items():
        family.add_metric([limit], count)
    return family
