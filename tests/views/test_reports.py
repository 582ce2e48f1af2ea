"""Prime numbers of everything, counted exactly; and the D scripts' columns."""

from __future__ import annotations

import csv
import io
import json

import pytest

from iscsitools.probes.lun import lun_text
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.views.cmds import cmds_report
from iscsitools.trace.views.io import io_report
from iscsitools.trace.views.report import as_csv, as_json
from iscsitools.trace.views.rwlat import percentile_report, rwlat_report
from iscsitools.trace.views.who import WhoSums

from .summed import SECOND, by_client_and_event, summed
from .traffic import TARGET, Script, connection, mixed


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


def test_failed_commands_are_counted_apart() -> None:
    report = rwlat_report(summed(mixed(101, 53)), SECOND)
    record = by_client_and_event(report)["2001:db8::7", "read"]
    assert (record["count"], record["failed"]) == (0, 7)
    assert "   2001:db8::7: 7 failed: read" in report.lines


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
