"""One line per event, commands by name, and only the commands that matter."""

from __future__ import annotations

import pytest

from iscsitools.trace.views.event_details import command_text, detail_of
from iscsitools.trace.views.snoop import SlowView, SnoopView
from iscsitools.wire.operations import extent_of, name_of
from iscsitools.wire.sense import sense_text

from .traffic import Script, connection, mixed


@pytest.mark.parametrize(
    ("cdb", "text"),
    [
        ("000000000000", "TEST UNIT READY"),
        ("0801020304 00", "READ(6) 66051+4"),
        ("0a1f02030000", "WRITE(6) 2032131+256"),
        ("28000000080000000800", "READ(10) 2048+8"),
        ("a8000000080000000008 0000", "READ(12) 2048+8"),
        ("8800000000010000000000000008 0000", "READ(16) 4294967296+8"),
        ("89000000000000000001000000010000", "COMPARE AND WRITE 1+1"),
        ("7f000000000000180009 0000 0000000000000005 0000000000000000 00000008", "READ(32) 5+8"),
        ("9e100000000000000000000000200000", "READ CAPACITY(16)"),
        ("a30c00000000000000ff0000", "REPORT SUPPORTED OPERATION CODES"),
        ("5f0300000000000018 00", "PR OUT CLEAR"),
        ("c1000000000000000000", "OPCODE C1h"),
        ("9e1e0000000000000000000000200000", "SERVICE ACTION IN(16) 1Eh"),
        ("", "(no CDB)"),
    ],
)
def test_commands_by_name(cdb: str, text: str) -> None:
    assert command_text(bytes.fromhex(cdb)) == text


def test_a_cut_off_cdb_has_a_name_and_no_range() -> None:
    assert name_of(b"\x28") == "READ(10)"
    assert extent_of(b"\x28\x00\x00") is None


@pytest.mark.parametrize(
    ("sense", "text"),
    [
        (0x052400, "ILLEGAL REQUEST, invalid field in CDB (5/24/00)"),
        (0x062900, "UNIT ATTENTION, power on, reset, or bus device reset occurred (6/29/00)"),
        (0x05FFFE, "ILLEGAL REQUEST (5/ff/fe)"),
    ],
)
def test_sense_in_words(sense: int, text: str) -> None:
    assert sense_text(sense) == text


def lines_of(view: SnoopView | SlowView, script: Script) -> list[str]:
    return [line for event in script.events() for report in view.reports(event) for line in report.lines]


def test_a_line_per_event() -> None:
    script = Script()
    script.read(connection(1), backstore=49_000)
    assert lines_of(SnoopView(), script) == [
        " 0.000000 192.0.2.7       scsi-command     0 1        READ(10) 2048+8",
        " 0.000050 192.0.2.7       xfer-start       0 1        read 4096 at 0",
        " 0.000051 192.0.2.7       data-send        0 1        4096 bytes GOOD",
        " 0.000052 192.0.2.7       xfer-done        0 1        read 4096 at 0",
    ]


def test_lines_fit_80_columns() -> None:
    assert [line for line in lines_of(SnoopView(), mixed()) if len(line) > 80] == []


def test_a_long_name_is_cut_to_fit_and_whole_when_wide() -> None:
    script = Script()
    script.command(connection(1), bytes.fromhex("a30c000000000000100000000000"), 1)
    (line,) = lines_of(SnoopView(), script)
    assert (line[-26:], len(line)) == ("REPORT SUPPORTED OPERATIO+", 80)
    assert "REPORT SUPPORTED OPERATION CODES" in lines_of(SnoopView(wide=True), script)[0]


def test_wide_has_every_field() -> None:
    script = Script()
    script.fail(connection(1))
    line = lines_of(SnoopView(wide=True), script)[1]
    for part in (
        "event=scsi-response", "remote=192.0.2.7:40001", "local=198.51.100.1:3260", "isid=400001370000",
        "tsih=0x0001", "itt=0x00000001", "ttt=0xffffffff", "flags=0x80", "sense=0x031100", "statsn=1",
        'detail="CHECK CONDITION, MEDIUM ERROR, unrecovered read error (3/11/00)"',
    ):  # fmt: skip
        assert part in line


def test_only_the_slow_commands_with_all_their_events() -> None:
    script = Script()
    script.read(connection(1))
    script.write(connection(1), immediate=False, backstore=20_000_000)
    script.read(connection(1))
    lines = lines_of(SlowView(10_000_000, errors=False), script)
    assert lines[0] == "WRITE(10) 4096+8 from 192.0.2.7 LUN 0 took 20.036 ms"
    assert [line.split()[2] for line in lines[2:-1]] == [
        "scsi-command", "data-request", "xfer-start", "data-receive", "data-receive", "xfer-done", "scsi-response",
    ]  # fmt: skip


def test_only_the_failed_commands() -> None:
    script = Script()
    script.read(connection(1))
    script.fail(connection(1))
    script.command(connection(1), bytes(6), 77)
    script.manage(connection(1), 1, itt=78, referenced=77)
    script.managed(connection(1), 78)
    view = SlowView(None, errors=True)
    records = [dict(r.records[0]) for e in script.events() for r in view.reports(e)]
    assert [(r["command"], r["result"].split(",")[0]) for r in records] == [
        ("READ(16) 7+8", "CHECK CONDITION"), ("TEST UNIT READY", "aborted"),
    ]  # fmt: skip


def test_details_of_the_other_pdus() -> None:
    script = Script()
    conn = connection(1)
    script.login(conn)
    script.manage(conn, 5, itt=3, referenced=0xFFFFFFFF)
    script.managed(conn, 3, response=2)
    script.request(conn, 4, 65536)
    script.logout(conn)
    details = [detail_of(event) for event in script.events()]
    assert details == [
        "operational>full feature", "operational>full feature", "LOGICAL UNIT RESET", "no such LUN",
        "65536 bytes at 0", "close session", "closed",
    ]  # fmt: skip
