"""``size``, ``seek`` and ``queue``: known requests, live and from a file; rows of negative values; pictures."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from iscsitools.trace.sums.buckets import Distribution
from iscsitools.trace.sums.histogram import count, powers, value_at
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.distribution_plot import short, write_distributions
from iscsitools.trace.views.distributions import (
    QUEUE,
    SEEK,
    SIZE,
    DistributionKind,
    distribution_report,
    distributions,
    share_report,
)
from iscsitools.trace.views.plot import PlotError
from iscsitools.trace.views.quantize import quantize_lines

from .test_real_target import TARGET, Watching, connect, of_file, target
from .test_width import LUNS, conns, too_long
from .traffic import connection, strings

__all__ = ["target"]


def snapshot(kind: DistributionKind, *parts: tuple[int, int, list[int]]) -> Snapshot:
    """Of one client: LUN, operation code and values of each row."""
    conn = strings(connection(1))
    rows = []
    for lun, opcode, values in parts:
        row = CommandRow(conn, lun, opcode, None, opcode == 0x28, opcode == 0x2A, *[len(values)] * 9)
        row.histograms = {kind.histogram: Distribution(0, dict(count(values)))}
        rows.append(row)
    return Snapshot(0, 1, rows, [])


def test_rows_of_both_signs_are_in_order_and_named_as_dtrace_names_them() -> None:
    values = [-5, -4, -1, 0, 0, 1, 3, 4096, 5000]
    assert powers(count(values)) == {-4: 2, -1: 1, 0: 2, 1: 1, 2: 1, 4096: 2}
    shown = [int(line.split("|")[0]) for line in quantize_lines(count(values))[1:]]
    assert shown == [-8, -4, -2, -1, 0, *(1 << n for n in range(14))]
    assert [line.split()[-1] for line in quantize_lines(count([-1]))[1:]] == ["0", "1", "0"]


def test_percentiles_of_both_signs() -> None:
    report = share_report(snapshot(SEEK, (0, 0x28, [-1000] * 10 + [0] * 80 + [8] * 10)), SEEK)
    assert report.records == [
        {
            **{"client": "192.0.2.7", "target": "iqn.2026-11.example:disks", "lun": 0, "event": "read", "count": 100},
            **{"sequential": 80, "p10": -992, "p50": 0, "p90": 0, "p99": 8},
        }
    ]
    assert report.lines[-1].split() == ["192.0.2.7", "0", "read", "100", "80.0", "-992", "0", "0", "8"]
    assert value_at({}, 0.5) == 0


def test_rows_of_a_unit_and_an_operation_are_one() -> None:
    found = distributions(snapshot(SIZE, (1, 0x2A, [512]), (0, 0x28, [4096] * 3), (0, 0x28, [8192])), SIZE)
    assert {(key.lun, key.event): powers(counts) for key, counts in found.items()} == {
        (0, "read"): {4096: 3, 8192: 1},
        (1, "write"): {512: 1},
    }
    assert [key.lun for key in found] == [0, 1]


@pytest.mark.parametrize("report", [distribution_report, share_report])
@pytest.mark.parametrize("kind", [SIZE, SEEK, QUEUE])
def test_lines_fit(report: object, kind: DistributionKind) -> None:
    assert callable(report)
    rows = []
    for conn in map(strings, conns()):
        for lun in LUNS:
            row = CommandRow(conn, lun, 0x28, None, True, False, *[10**7] * 9)
            values = Counter({-(2**30) if kind is SEEK else 0: 10**7, 2**32: 10**7})
            row.histograms = {kind.histogram: Distribution(0, dict(count(values)))}
            rows.append(row)
    assert too_long(report(Snapshot(0, 1, rows, []), kind).lines) == []


def test_known_requests_live_and_from_a_file(target: object, tmp_path: Path) -> None:
    recorded = tmp_path / "trace"
    with contextlib.closing(connect(target)) as session:  # type: ignore[arg-type]
        watching = {name: Watching(name, "--json") for name in ("size", "seek", "queue")}
        recorder = Watching("record", "-o", str(recorded))
        for lba in (0, 8, 16, 1000, 0):  # the first has one before it that nobody saw
            session.read(lba, 8)
        session.write(8, bytes(65536), lun=0)
        tasks = [session.start_command(b"\x28" + bytes(7) + b"\1\0", lun=1, read=512) for _ in range(7)]
        for task in tasks:
            session.wait(task)
        live = {name: process.records() for name, process in watching.items()}
        recorder.end()

    def rows(name: str) -> dict[tuple[int, str], tuple[int, ...]]:
        names = ("count", *(("sequential",) if name == "seek" else ()), "p10", "p50", "p99")
        return {(r["lun"], r["event"]): tuple(r[n] for n in names) for r in live[name]}

    assert rows("size") == {
        (0, "read"): (5, *[4096] * 3),
        (0, "write"): (1, *[65536] * 3),
        (1, "read"): (7, *[512] * 3),
    }
    # 0 -> 8 -> 16 -> 1000 -> 0: none, 0, 0, 976, -1008; then 8, from 8
    assert rows("seek")[0, "read"] == (4, 2, -992, 0, 960)
    assert rows("seek")[0, "write"] == (1, 1, 0, 0, 0)
    assert rows("seek")[1, "read"][0] == 6  # back to block 0 from behind it
    assert rows("queue")[0, "read"] == (5, 1, 1, 1)
    assert rows("queue")[1, "read"] == (7, 1, 4, 7)
    assert {r["target"] for r in live["size"]} == {TARGET}
    for name, records in live.items():
        assert of_file(recorded, name) == records


def test_pictures_name_server_client_and_date(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "seek.svg"
    found = distributions(snapshot(SEEK, (0, 0x28, [-70000, 0, 0, 5])), SEEK)
    write_distributions(found, SEEK.title, "server a, all clients, 2026-11-27 01:00:00 +0000", path)
    drawn = path.read_text()
    for text in ("Seek Distance (blocks)", "server a, all clients, 2026-11-27", "-64K", "192.0.2.7, LUN 0, read: 4"):
        assert f"<!-- {text}" in drawn, text
    with pytest.raises(PlotError, match="nothing to plot"):
        write_distributions({}, SIZE.title, "", path)
    assert [short(bound) for bound in (-2048, 0, 1, 512, 1 << 20, 1 << 42)] == ["-2K", "0", "1", "512", "1M", "4T"]
