"""All that people are shown fits 80 columns, whatever the names, numbers and times are."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import alone

from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.client.attach import attach
from iscsitools.trace.client.recording import Recorder
from iscsitools.trace.sums.histogram import index_of
from iscsitools.trace.sums.snapshot import CommandRow, EventRow, Snapshot
from iscsitools.trace.views.cmds import cmds_report
from iscsitools.trace.views.io import io_report
from iscsitools.trace.views.report import Column, table
from iscsitools.trace.views.rwlat import percentile_report, rwlat_report
from iscsitools.trace.views.sessions import sessions_report
from iscsitools.trace.views.top.model import GROUPS, Counters, RowKey, Sample, TopModel
from iscsitools.trace.views.top.text import Layout, batch_lines
from iscsitools.trace.views.who import HEADINGS, WhoSums
from iscsitools.trace.views.width import LINE, columns_of, fill, fold, shorten

from .stage import SESSION, Stage
from .traffic import Script, connection, strings

LONG = f"iqn.2026-11.example:{'n' * 195}-end"
WIDE = f"iqn.2026-11.example:{'漢' * 60}"
REMOTES = [
    "192.0.2.7:40001", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
    "[fe80::1234:5678:9abc:def0%enp0s31f6]:50000", "[2001:db8:1111:2222:3333:4444:5555:6666%interface-names]:1",
]  # fmt: skip
NAMES = ["iqn.2026-11.example:a", LONG, WIDE]
LUNS = [0, 16383, 0xC101 << 48, 0x4005_0001 << 32, 0x4005_0001_0002_0003]
HUGE = 9_999_999_999_999
HOUR = 3_600_000_000_000


def too_long(lines: list[str], width: int = LINE) -> list[str]:
    return [line for text in lines for line in text.split("\n") if columns_of(line) > width]


def conns() -> Iterator[ConnectionInfo]:
    for ident, (remote, name) in enumerate(((r, n) for r in REMOTES for n in NAMES), 1):
        yield connection(ident, remote, f"0x{ident:04x}", name, name)


def extreme_snapshot() -> Snapshot:
    rows, events = [], []
    for conn in map(strings, conns()):
        for lun in LUNS:
            for opcode, action in ((0x28, None), (0x2A, None), (0x84, 0x03), (None, None)):
                latency, errors = (
                    {index_of(HOUR): HUGE},
                    {0x02 << 24 | 0x062900: HUGE, 0x18 << 24: 1, 0x0100 << 24: HUGE},
                )
                rows.append(
                    CommandRow(conn, lun, opcode, action, opcode == 0x28, opcode == 0x2A, HUGE, HUGE, HUGE * 10**6,
                               HOUR, HUGE, HUGE, HUGE, HUGE, HUGE, latency, errors)
                )  # fmt: skip
        events.append(EventRow(conn, dict.fromkeys(Probe, HUGE)))
    return Snapshot(0, 10**9, rows, events)


@pytest.mark.parametrize("report", [io_report, rwlat_report, percentile_report, cmds_report])
def test_reports_of_sums(report: object) -> None:
    assert callable(report)
    assert too_long(report(extreme_snapshot(), 10**9).lines) == []


@pytest.mark.parametrize("by", HEADINGS)
def test_who_by_any_key(by: str) -> None:
    sums = WhoSums(by)
    sums.take(extreme_snapshot())
    report = sums.report(10**9)
    assert too_long(report.lines) == []
    # what is folded is whole
    text = "".join(line.strip() for line in report.lines)
    assert all(str(record[by]) in text for record in report.records)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("width", [80, 100, 132])
def test_top(group: str, width: int) -> None:
    model = TopModel()
    counters = Counters(HUGE, HUGE, HUGE, HUGE, 1, 100 * HOUR, HUGE, {index_of(HOUR): 1})
    keys = [RowKey("a" * 64, conn.remote.rpartition(":")[0], conn.target, lun) for conn in conns() for lun in LUNS]
    sample = Sample(0, 10**6, dict.fromkeys(keys, counters), dict.fromkeys(keys, 123_456), 99_999, 1e6, HUGE)
    model.update("/long" * 40 + "/trace", sample)
    lines = batch_lines(model, group, "RKB/s", width)
    assert too_long(lines, width) == []
    assert "\n".join(lines).isascii() or any(WIDE[-3:] in line for line in lines)
    layout = Layout(group, width, model.rows(group))
    assert too_long([layout.line(row) for row in model.rows(group)], width) == []


def test_shorten_keeps_the_end_or_the_beginning() -> None:
    assert shorten("fe80::1234:5678:9abc:def0", 15) == "..678:9abc:def0"
    assert shorten("0x4005000100020003", 10, keep="start") == "0x400500.."
    assert shorten("漢漢漢漢", 7) == "..漢漢"
    assert [shorten("abcdef", n) for n in (6, 3, 2, 0)] == ["abcdef", "..f", "..", ""]


def test_a_name_that_may_have_any_characters_is_shown_without_control_characters() -> None:
    (line,) = [line for line in sessions_report([{**SESSION, "chap": "back\x1b[2Jup"}]).lines if "CHAP" in line]
    assert line.endswith("CHAP name back?[2Jup")


@given(st.text(st.characters(exclude_categories=["C", "Z"])), st.integers(0, 90))
def test_widths_are_kept(text: str, width: int) -> None:
    assert columns_of(shorten(text, width)) <= max(width, 0)
    assert columns_of(fill(shorten(text, width), width)) == width
    assert "".join(line.strip() for line in fold(text, "   ")) == text
    assert too_long(list(fold(text, "   "))) == []


def test_a_first_cell_stands_once_above_rows_that_follow_each_other() -> None:
    columns = [Column("KEY", -10), Column("EVENT", 40), Column("COUNT", 8)]
    name = "k" * 30
    assert table(columns, [(name, "a", 1), (name, "b", 2), ("short", "c", 3), (name, "d", 10**60)]) == [
        f"   {'KEY':<10} {'EVENT':>40} {'COUNT':>8}",
        f"   {name}", f"{'a':>54} {1:>8}", f"{'b':>54} {2:>8}",
        f"   {'short':<10} {'c':>40} {3:>8}",
        f"   {name}", f"{'d ' + str(10**60):>80}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of hours with such names, in a file with a long path."""
    script = Script()
    for conn in conns():
        script.login(conn)
        for lun in LUNS:
            script.read(conn, 65535, lun=lun, backstore=90_000_000_000)
            script.write(conn, 8, lun=lun, immediate=False, waiting=HOUR)
            script.fail(conn, lun=lun)
        script.manage(conn, 5, itt=1, referenced=0x12345678, lun=LUNS[-1])
        script.logout(conn)
    path = tmp_path_factory.mktemp("long") / ("path" * 30)
    with Stage("width") as stage, attach(socket=stage.watch) as trace, path.open("wb") as out:
        recorder = Recorder(out, trace.server, {})
        stage.play(script)
        while trace.position < len(script.calls):
            recorder.write(trace, trace.read_block(5))
        recorder.write_sessions([long_session(conn) for conn in conns()])
        recorder.finish(trace.drops)
    return path


def long_session(conn: ConnectionInfo) -> dict[str, Any]:
    """As a server describes it, with every number large."""
    own = {"initiator": conn.initiator, "target": conn.target, "addresses": [conn.remote] * 3, "chap": NAMES[-1]}
    large = {"age": HUGE, "commands": HUGE, "read_bytes": HUGE, "written_bytes": HUGE}
    return {**SESSION, **own, **large, "luns": list(range(0, 600, 2))}


COMMANDS = [
    *(["who", "--by", by] for by in HEADINGS), ["io"], ["io", "--commands"], ["rwlat"], ["rwlat", "--percentiles"],
    ["rwlat", "--phases"], ["rwlat", "--phases", "--percentiles"], ["rwlat", "--heatmap"], ["rwlat", "--heatmap", "10"],
    ["cmds"],
    ["size"], ["seek"], ["queue", "--percentiles"], ["top", "--batch", "100000"], ["snoop"],
    ["snoop", "--slower", "1", "--errors"], ["sessions"],
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_on_a_recording(recorded: Path, command: list[str], encoding: str) -> None:
    result = subprocess.run(
        [*alone.COMMAND, *command, "--read", str(recorded)],
        capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    lines = result.stdout.decode(encoding).splitlines()
    assert len(lines) > 3
    assert too_long(lines) == []


def test_json_and_csv_keep_every_name_whole(recorded: Path) -> None:
    def output(form: str) -> str:
        command = [*alone.COMMAND, "who", "--by", "target", form, "--read", str(recorded)]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        ).stdout  # fmt: skip

    assert {record["target"] for record in json.loads(output("--json"))["records"]} == set(NAMES)
    in_csv = {line.split(",")[2].encode().decode("unicode_escape") for line in output("--csv").splitlines()[1:]}
    assert in_csv == set(NAMES)
