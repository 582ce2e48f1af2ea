"""The commands as a user runs them: processes of their own, on a live trace server and on files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import alone

from iscsitools.trace.views.sessions import KEYS

from .stage import Stage, record
from .traffic import Script, connection, mixed

STARTED = "Tracing... Hit Ctrl-C to end.\n"


@pytest.fixture
def recorded(stage: Stage, tmp_path: Path) -> Path:
    return record(stage, mixed(101, 53), tmp_path / "trace")


def start(*arguments: str) -> subprocess.Popen[str]:
    """A command whose start-up line has been read, so that it traces."""
    process = subprocess.Popen(
        [*alone.COMMAND, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == STARTED
    return process


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*alone.COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def test_report_at_ctrl_c(stage: Stage) -> None:
    process = start("io")
    stage.play(mixed(101, 53))
    assert "   192.0.2.7                      read      202        808 " in end(process)


def test_who_by_lun_out_of_the_ring(stage: Stage) -> None:
    process = start("who", "--by", "lun")
    script = mixed(11, 7)
    stage.play(script)
    counts = [int(line.split()[-1]) for line in end(process).splitlines()[1:]]
    assert sum(counts) == len(script.calls)


def test_snoop_prints_events_as_they_come(stage: Stage) -> None:
    process = start("snoop", "--lun", "0")
    script = Script()
    script.read(connection(1))
    stage.play(script)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    assert "READ(10) 2048+8" in lines[1]
    assert "4096 bytes GOOD" in lines[3]
    end(process)


@pytest.mark.parametrize("command", ["io", "who", "rwlat", "cmds", "top"])
def test_intervals_and_count(stage: Stage, command: str) -> None:
    extra = ["--batch"] if command == "top" else []
    result = run(command, "0.2", "2", *extra)
    assert result.returncode == 0
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$", result.stdout, re.MULTILINE)) == 2
    assert run(command, "0.2", "2", *extra, "--relative").stdout.count("\nafter ") == 2


def test_the_server_goes_away(stage: Stage) -> None:
    process = start("snoop")
    stage.stop()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "iscsitools: the server is gone\n")


def test_a_closed_pipe_is_quiet(recorded: Path) -> None:
    command = f"{sys.executable} -m iscsitools snoop --wide --relative --read {recorded} | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("time=0.000000000 event=login-command")
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["io", "who", "rwlat", "cmds", "size", "seek", "queue", "snoop", "top"])
def test_json_and_csv_of_a_file(recorded: Path, command: str) -> None:
    from_json = run(command, "--read", str(recorded), "--json")
    assert (from_json.returncode, from_json.stderr) == (0, "")
    objects = [json.loads(line) for line in from_json.stdout.splitlines()]
    records = objects if command == "snoop" else [r for o in objects for r in o["records"]]
    rows = list(csv.DictReader(io.StringIO(run(command, "--read", str(recorded), "--csv").stdout)))
    assert len(rows) == len(records) > 0
    names = [name for name in rows[0] if name not in (() if command == "snoop" else ("elapsed", "clock"))]
    assert names == list(records[0])


@pytest.mark.parametrize(
    "command",
    [
        ["who"], ["who", "--by", "lun"], ["io"], ["rwlat"], ["rwlat", "--phases"], ["rwlat", "--heatmap"], ["cmds"],
        ["size"], ["seek", "--percentiles"], ["queue"],
        ["snoop"], ["top", "--batch"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_csv_names_its_columns_without_a_row(recorded: Path, command: list[str]) -> None:
    whole = run(*command, "--read", str(recorded), "--csv").stdout
    nothing = run(*command, "--read", str(recorded), "--csv", "--client", "192.0.2.99", "0.5")
    assert nothing.stdout == whole.partition("\n")[0] + "\n"
    assert nothing.returncode == 0


def test_a_recording_comes_by_a_pipe(recorded: Path) -> None:
    command = f"cat {recorded} | {sys.executable} -m iscsitools who --read -"
    piped = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (piped.stderr, piped.stdout) == ("", run("who", "--read", str(recorded)).stdout)


def test_a_recording_that_was_not_told_of_sessions(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``record`` asks for them; a program of one's own need not."""
    monkeypatch.chdir(recorded.parent)
    refused = run("sessions", "--read", recorded.name)
    assert refused.returncode == 1
    assert refused.stderr == "iscsitools: trace: the recording does not say who was logged in\n"
    result = run("top", "--read", recorded.name, "100")
    assert "trace: sessions -, CPU -, 0 drops" in result.stdout.splitlines()


def test_top_batch_counts_exactly(recorded: Path) -> None:
    result = run("top", "--read", str(recorded), "--json", "0.5")
    records = [r for line in result.stdout.splitlines() for r in json.loads(line)["records"]]
    assert sum(r["reads"] for r in records) == 101 + 7
    assert sum(r["writes"] for r in records) == 53
    assert sum(r["read_bytes"] for r in records) == 101 * 8192
    assert sum(r["write_bytes"] for r in records) == 53 * 4096
    assert sum(r["errors"] for r in records) == 7


@pytest.mark.parametrize(
    "options", [["--percentiles"], ["--heatmap"], ["--phases"], ["--phases", "--percentiles"], ["--plot", "x.svg"]]
)
def test_forms_of_rwlat(recorded: Path, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("rwlat", "--read", str(recorded), *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_several_servers_are_a_choice(stage: Stage) -> None:
    with Stage("other"):
        result = run("io", "0.1", "1")
        assert result.returncode == 2
        assert result.stderr == "iscsitools: several servers are running, choose one with --name: other, stage\n"
        assert run("io", "--name", "other", "0.1", "1").returncode == 0
        shown = run("top", "--batch", "0.1", "1").stdout
        assert "other: 1 session" in shown
        assert "stage: 1 session" in shown


@pytest.mark.parametrize("arguments", [["io"], ["top", "--batch"], ["snoop"], ["sessions"], ["who", "--by", "lun"]])
def test_no_server(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "no running server" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["io", "--read", "nowhere"], 1),
        (["io", "--read", os.devnull], 1),
        (["io", "--read", "x", "--name", "y"], 2),
        (["io", "0"], 2),
        (["io", "nan"], 2),
        (["io", "inf"], 2),
        (["io", "1e300"], 2),
        (["io", "1e-10", "--read", "x"], 2),
        (["record", "-o", "y", "nan"], 2),
        (["snoop", "--slower", "nan", "--read", "x"], 2),
        (["snoop", "--slower", "inf", "--read", "x"], 2),
        (["rwlat", "--heatmap", "--phases", "--read", "x"], 2),
        (["rwlat", "--plot", "x.gif", "--read", "x"], 2),
        (["snoop", "--errors", "--csv", "--read", "x"], 2),
        (["top"], 2),
        (["io", "--lun", "-1", "--read", "x"], 2),
        (["io", "--lun", "0xc1", "--read", "x"], 2),
        (["io", "--lun", "0xc10100000000000000", "--read", "x"], 2),
        (["record", "--lun", "one", "-o", "y"], 2),
        (["sessions", "--read", "x", "--name", "y"], 2),
        (["sessions", "--read", "nowhere"], 1),
        (["sessions", "--read", "x", "drop", "1"], 2),
        (["sessions", "--lun", "1", "drop", "1"], 2),
    ],
)
def test_errors_are_one_line(arguments: list[str], status: int) -> None:
    result = run(*arguments)
    assert result.returncode == status
    assert result.stderr.startswith("iscsitools: ")
    assert result.stderr.count("\n") == 1


def test_sessions(stage: Stage) -> None:
    assert re.search(r"^   age 1h02m, since 20\d\d-", run("sessions").stdout, re.MULTILINE)
    lines = run("sessions", "--relative").stdout.splitlines()
    assert lines[0] == "1  iqn.2026-11.example:a"
    assert lines[2] == "   ISID 400001370000, TSIH 0x0001, CHAP name backup"
    assert lines[3] == "   age 1h02m"
    assert all(len(line) <= 80 for line in lines)
    assert json.loads(run("sessions", "--json").stdout)[0]["keys"]["MaxBurstLength"] == 262144
    for client in ("192.0.2.7", "192.0.2.7:40001", "iqn.2026-11.example:a"):
        assert run("sessions", "--relative", "--client", client).stdout.splitlines() == lines
    for client in ("192.0.2.99", "192.0.2.7:40002", "iqn.2026-11.example:b"):
        assert run("sessions", "--relative", "--client", client).stdout == "No sessions.\n"
    for lun in ("2", "300", "0x0002", "0x412c"):
        assert run("sessions", "--relative", "--lun", lun).stdout.splitlines() == lines
    for lun in ("3", "0xc101"):
        assert run("sessions", "--relative", "--lun", lun).stdout == "No sessions.\n"
    header = run("sessions", "--csv").stdout.splitlines()[0]
    assert run("sessions", "--client", "192.0.2.99", "--csv").stdout == f"{header}\n"
    (told,) = json.loads(run("sessions", "--json").stdout)
    assert header.split(",") == [*(name for name in told if name != "keys"), *KEYS]
    assert not set(told["keys"]) - set(KEYS)
    (row,) = csv.DictReader(io.StringIO(run("sessions", "--csv").stdout))
    assert (row["addresses"], row["luns"], row["MaxBurstLength"]) == ("192.0.2.7:40001", "0 1 2 300", "262144")
    assert not any(character in value for value in row.values() for character in '[]{}"')
    assert told["alias"] is None or told["alias"]


def test_sessions_drop(stage: Stage) -> None:
    assert run("sessions", "drop", "1").stdout == "session 1 was dropped\n"
    result = run("sessions", "drop", "9")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert stage.state.dropped == ["1", "9"]
