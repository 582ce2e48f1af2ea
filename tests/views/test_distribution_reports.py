"""Reports of distributions: latencies, percentiles, phases and the heat map."""

from __future__ import annotations

import pytest

from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.views.heatmap import heatmap_report, scrolled_report
from iscsitools.trace.views.over_time import GridView, PhaseView
from iscsitools.trace.views.phases import phase_percentile_report
from iscsitools.trace.views.rwlat import percentile_report, rwlat_report
from iscsitools.trace.views.scrolling import ScrollView

from .summed import SECOND, by_client_and_event, summed
from .traffic import Script, connection


def test_rwlat_prints_the_scripts_distributions() -> None:
    script = Script()
    for _ in range(3):
        script.read(connection(1), backstore=60_000)  # 62 us and a bit: below 65536
    script.read(connection(1), backstore=90_000)
    script.write(connection(2, "[2001:db8::7]:51000"))
    lines = "\n".join(rwlat_report(summed(script), SECOND).lines)
    assert lines == (
        "Read Latency (ns),\n\n"
        "  192.0.2.7                                         \n"
        "           value  ------------- Distribution ------------- count    \n"
        "           16384 |                                         0        \n"
        "           32768 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@           3        \n"
        "           65536 |@@@@@@@@@@                               1        \n"
        "          131072 |                                         0        \n\n"
        "Write Latency (ns),\n\n"
        "  2001:db8::7                                       \n"
        "           value  ------------- Distribution ------------- count    \n"
        "           16384 |                                         0        \n"
        "           32768 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@ 1        \n"
        "           65536 |                                         0        \n"
    )


def test_percentiles_are_within_an_eighth() -> None:
    script = Script()
    for n in range(1, 1001):
        script.read(connection(1), backstore=n * 1000)
    record = by_client_and_event(percentile_report(summed(script), SECOND))["192.0.2.7", "read"]
    for name, expected in (("p50_ns", 502_000), ("p90_ns", 902_000), ("p99_ns", 992_000)):
        assert record[name] == pytest.approx(expected, rel=0.125)
    assert record["max_ns"] == 1_002_000


def test_phases_have_a_table_for_each_target() -> None:
    """Two targets' units have the same numbers."""
    script = Script()
    for ident, target in enumerate(("iqn.2026-11.example:a", "iqn.2026-11.example:b"), 1):
        script.read(connection(ident, tsih=f"0x{ident:04x}", target=target), lun=0)
    view = PhaseView()
    for event in script.events():
        view.feed(event)
    lines = view.report(SECOND).lines
    assert [line.split()[0] for line in lines if line] == [
        "Average", "iqn.2026-11.example:a", "REMOTE", "192.0.2.7", "iqn.2026-11.example:b", "REMOTE", "192.0.2.7",
    ]  # fmt: skip


def test_phases_tell_the_slow_backstore_from_the_slow_client() -> None:
    script = Script()
    slow_disk, slow_client = connection(1), connection(2, "192.0.2.8:1", "0x0002")
    script.read(slow_disk, backstore=5_000_000, lun=0)
    script.read(slow_disk, backstore=50_000, lun=1)
    script.read(slow_client, sending=7_000_000)
    script.write(slow_client, immediate=False, waiting=3_000_000)
    view = PhaseView()
    for event in script.events():
        view.feed(event)
    found = {(r["client"], r["lun"], r["event"]): r for r in view.report(SECOND).records}
    assert found["192.0.2.7", 0, "read"]["backstore_ns"] // 1_000_000 == 5
    assert found["192.0.2.7", 1, "read"]["backstore_ns"] < 1_000_000
    assert found["192.0.2.8", 0, "read"]["sending_ns"] // 1_000_000 == 7
    assert found["192.0.2.8", 0, "write"]["waiting_ns"] // 1_000_000 == 3


def test_heatmap_has_a_line_per_power_and_shows_one_slow_command() -> None:
    script = Script()
    for _ in range(500):
        script.read(connection(1), backstore=40_000)
        script.wait(2_000_000)
    script.read(connection(1), backstore=30_000_000)
    view = GridView(60)
    for event in script.events():
        view.feed(event)
    report = heatmap_report(view)
    rows = {line.split("|")[0].strip(): line for line in report.lines if "|" in line}
    assert next(iter(rows)) == "16777216"
    assert list(rows)[-1] == "32768"
    assert rows["16777216"].count(".") == 1
    assert "@" in rows["32768"]
    assert all(len(line) <= 80 for line in report.lines)
    assert sum(record["count"] for record in report.records) == 501


def test_a_heatmap_scrolls_from_interval_to_interval() -> None:
    """What was slow stays where it was in time, and goes out at the left."""
    view = ScrollView(60)

    def interval(latency: int | None, number: int) -> list[str]:
        script.wait(1_000_000_000)
        if latency is not None:
            script.read(connection(1), backstore=latency)
        for event in script.events():
            view.feed(event)
        script.calls.clear()
        report = scrolled_report(view, SECOND, number * SECOND)
        assert [record["count"] for record in report.records] == ([1] if latency else [])
        assert all(record["time"] == number - 1 for record in report.records)
        view.clear()
        return report.lines

    script = Script()
    assert interval(30_000_000, 1)[1].endswith(f"{'.':>60}|".replace(".", "@"))
    lines = interval(40_000, 2)
    rows = {line.split("|")[0].strip(): line.split("|")[1] for line in lines if "|" in line}
    assert (rows["16777216"].index("@"), rows["32768"].index("@")) == (58, 59)
    assert lines[-2].endswith("-2 s now")
    for number in range(3, 61):
        lines = interval(40_000, number)
    assert "@" in lines[1][:19]
    lines = interval(None, 61)
    assert not any("16777216" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_percentiles_of_each_phase() -> None:
    """One of a hundred reads has a slow backstore, all writes a client that sends late."""
    script = Script()
    for n in range(100):
        script.read(connection(1), backstore=5_000_000 if n == 50 else 20_000)
    late = connection(2, "192.0.2.8:1", "0x0002")
    for _ in range(10):
        script.write(late, immediate=False, waiting=3_000_000)
    report = phase_percentile_report(summed(script, PHASES), SECOND)
    found = {(r["client"], r["event"], r["phase"]): r for r in report.records}
    read = found["192.0.2.7", "read", "backstore"]
    assert (read["count"], read["p50_ns"] // 1000 in range(19, 24), read["p99.9_ns"] // 1_000_000) == (100, True, 5)
    assert found["192.0.2.8", "write", "waiting"]["p50_ns"] // 1_000_000 in (2, 3)
    view = PhaseView()
    for event in script.events():
        view.feed(event)
    for average in view.report(SECOND).records:  # the events say the same
        assert average["count"] == found[average["client"], average["event"], "backstore"]["count"]
    assert set(found) == {
        ("192.0.2.7", "read", "backstore"), ("192.0.2.7", "read", "sending"),
        ("192.0.2.8", "write", "backstore"), ("192.0.2.8", "write", "waiting"),
    }  # fmt: skip
