"""Prime numbers of everything, counted exactly; and the D scripts' columns."""

from __future__ import annotations

import csv
import io
import json

import pytest

from iscsitools.probes.firing import Probes
from iscsitools.probes.lun import lun_text
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.aggregate import CommandSums
from iscsitools.trace.sums.counts import EventCounts
from iscsitools.trace.sums.declared import PHASES, wanted
from iscsitools.trace.sums.snapshot import Snapshot, take
from iscsitools.trace.views.cmds import cmds_report
from iscsitools.trace.views.heatmap import heatmap_report, scrolled_report
from iscsitools.trace.views.io import io_report
from iscsitools.trace.views.over_time import GridView, PhaseView
from iscsitools.trace.views.phases import phase_percentile_report
from iscsitools.trace.views.report import Report, as_csv, as_json
from iscsitools.trace.views.rwlat import percentile_report, rwlat_report
from iscsitools.trace.views.scrolling import ScrollView
from iscsitools.trace.views.who import WhoSums

from .traffic import TARGET, Script, connection, mixed

SECOND = 1_000_000_000


def summed(script: Script, histograms: tuple[str, ...] = ()) -> Snapshot:
    now = 0
    probes = Probes(lambda: now)
    sums, counts = CommandSums(Selection(), wanted(list(histograms))), EventCounts(Selection())
    for part in (sums, counts):
        probes.subscribe(part.mask, part)
    for call in script.calls:
        now = call.time
        call.fire(probes)
    return take(0, now, sums, counts, reset=False)


def by_client_and_event(report: Report) -> dict[tuple[str, str], dict[str, object]]:
    return {(r["client"], r["event"]): dict(r) for r in report.records}


def test_io_counts_data_pdus_and_bytes() -> None:
    report = by_client_and_event(io_report(summed(mixed(101, 53)), SECOND))
    assert set(report) == {("192.0.2.7", "read"), ("2001:db8::7", "write")}
    assert report["192.0.2.7", "read"]["count"] == 202  # two Data-In each
    assert report["192.0.2.7", "read"]["bytes"] == 101 * 8192
    assert report["2001:db8::7", "write"]["count"] == 27 + 26 * 2  # immediate ones in one PDU, the others in two
    assert report["2001:db8::7", "write"]["bytes"] == 53 * 4096


def test_io_counts_commands() -> None:
    report = by_client_and_event(io_report(summed(mixed(101, 53)), SECOND, commands=True))
    assert report["192.0.2.7", "read"]["count"] == 101
    assert report["2001:db8::7", "write"]["count"] == 53
    assert report["2001:db8::7", "read"]["count"] == 7  # the failed ones


def test_io_prints_the_scripts_columns() -> None:
    lines = io_report(summed(mixed(101, 53)), 2 * SECOND).lines
    assert lines == [
        "   REMOTE IP                     EVENT    COUNT     Kbytes     KB/sec",
        "   2001:db8::7                   write       79        212        106",
        "   192.0.2.7                      read      202        808        404",
        "   total                          read      202        808        404",
        "   total                         write       79        212        106",
    ]


def test_who_prints_the_scripts_columns() -> None:
    script = Script()
    for _ in range(3):
        script.test_unit_ready(connection(1))
    script.logout(connection(1))
    sums = WhoSums()
    sums.take(summed(script))
    assert sums.report(SECOND).lines == [
        "   REMOTE IP                     iSCSI EVENT    COUNT",
        "   192.0.2.7                  logout-command        1",
        "   192.0.2.7                  logout-response        1",
        "   192.0.2.7                    scsi-command        3",
        "   192.0.2.7                   scsi-response        3",
    ]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("client", {"192.0.2.7", "2001:db8::7"}),
        ("connection", {"192.0.2.7:40001", "[2001:db8::7]:51000"}),
        ("session", {"0x0001 iqn.2026-11.example:a", "0x0002 iqn.2026-11.example:b"}),
        ("target", {"iqn.2026-11.example:disks"}),
        ("lun", {"iqn.2026-11.example:disks 0", "iqn.2026-11.example:disks 1", "iqn.2026-11.example:disks -"}),
    ],
)
def test_who_by(by: str, keys: set[str]) -> None:
    script = mixed()
    sums = WhoSums(by)
    for event in script.events():
        sums.feed(event)
    report = sums.report(SECOND)
    assert {record[by] for record in report.records} == keys
    assert sum(record["count"] for record in report.records) == len(script.calls)


def test_an_ipv6_address_widens_its_row_and_is_not_cut() -> None:
    address = "2001:db8:1111:2222:3333:4444:5555:6666"
    script = Script()
    script.test_unit_ready(connection(1, f"[{address}]:51000"))
    sums = WhoSums()
    sums.take(summed(script))
    assert f"   {address}   scsi-command        1" in sums.report(SECOND).lines


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


def test_failed_commands_are_counted_apart() -> None:
    report = rwlat_report(summed(mixed(101, 53)), SECOND)
    record = by_client_and_event(report)["2001:db8::7", "read"]
    assert (record["count"], record["failed"]) == (0, 7)
    assert "   2001:db8::7: 7 failed: read" in report.lines


def test_percentiles_are_within_an_eighth() -> None:
    script = Script()
    for n in range(1, 1001):
        script.read(connection(1), backstore=n * 1000)
    record = by_client_and_event(percentile_report(summed(script), SECOND))["192.0.2.7", "read"]
    for name, expected in (("p50_ns", 502_000), ("p90_ns", 902_000), ("p99_ns", 992_000)):
        assert record[name] == pytest.approx(expected, rel=0.125)
    assert record["max_ns"] == 1_002_000


def test_cmds_by_name_with_decoded_sense() -> None:
    report = cmds_report(summed(mixed(101, 53)), SECOND)
    found = {record["command"]: record for record in report.records}
    assert {name: record["count"] for name, record in found.items()} == {
        "READ(10)": 101, "WRITE(10)": 53, "READ(16)": 7, "TEST UNIT READY": 3,
    }  # fmt: skip
    assert found["READ(10)"]["bytes"] == 101 * 8192
    assert found["READ(10)"]["max_ns"] == 20_000 + 997 * 100 + 3_000
    assert found["READ(16)"]["check_conditions"] == 7
    text = "MEDIUM ERROR, unrecovered read error (3/11/00)"
    assert found["READ(16)"]["failures"] == {text: 7}
    assert f"          7 READ(16): {text}" in report.lines


def test_a_long_name_stands_above_its_rows() -> None:
    name = f"iqn.2026-11.example:{'a' * 50}"
    script = Script()
    for _ in range(2):
        script.test_unit_ready(connection(1, target=name))
    script.read(connection(2, tsih="0x0002"))
    sums = WhoSums("target")
    for event in script.events():
        sums.feed(event)
    lines = sums.report(SECOND).lines
    assert [line for line in lines if name in line] == [f"   {name}"]
    assert {line.rindex(line.split()[-1]) + len(line.split()[-1]) for line in lines if line != f"   {name}"} == {53}
    place = lines.index(f"   {name}")
    assert lines[place + 1].split() == ["scsi-command", "2"]


def test_a_lun_that_names_no_unit_is_shown_as_it_was_sent() -> None:
    assert [lun_text(lun) for lun in (0, 7, 0x3FFF)] == ["0", "7", "16383"]
    assert lun_text(0xC101 << 48) == "0xc101"
    assert lun_text(0x4005_0001 << 32) == "0x40050001"
    script = Script()
    script.test_unit_ready(connection(1), lun=0xC101 << 48)
    sums = WhoSums("lun")
    for event in script.events():
        sums.feed(event)
    assert {record["lun"] for record in sums.report(SECOND).records} == {f"{TARGET} 0xc101"}


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


def test_every_report_fits_80_columns() -> None:
    snapshot = summed(mixed())
    sums = WhoSums()
    sums.take(snapshot)
    reports = [
        sums.report(SECOND), io_report(snapshot, SECOND), rwlat_report(snapshot, SECOND),
        percentile_report(snapshot, SECOND), cmds_report(snapshot, SECOND),
    ]  # fmt: skip
    assert [line for report in reports for line in report.lines if len(line) > 80] == []


def test_nothing_seen_is_an_empty_report() -> None:
    nothing = summed(Script())
    for report in (io_report, rwlat_report, percentile_report, cmds_report):
        assert report(nothing, SECOND).records == []
        assert report(nothing, SECOND).lines


def test_json_and_csv_say_the_same() -> None:
    report = io_report(summed(mixed(101, 53)), SECOND)
    from_json = json.loads(as_json(report, SECOND))
    rows = list(csv.DictReader(io.StringIO(as_csv([report.names, *report.rows]))))
    assert from_json["elapsed"] == 1.0
    assert [{k: str(v) for k, v in record.items()} for record in from_json["records"]] == rows
    assert as_csv(report.rows).count("\n") == len(rows) - 1


def test_connection_without_a_name_yet() -> None:
    script = Script()
    script.login(ConnectionInfo(9, remote="192.0.2.9:1"))
    sums = WhoSums("target")
    for event in script.events():
        sums.feed(event)
    assert {record["target"] for record in sums.report(SECOND).records} == {"-"}
