"""Faults that are set while a disk is served, power cuts, and what `ls` and `status` say of it all."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import iscsitools as iscsitools
from server.harness import IQN, Running, eventually, one_target, running

from iscsitools.control import Control, ControlError
from iscsitools.initiator.errors import ConnectionClosedError
from iscsitools.initiator.session import Session
from iscsitools.trace.views.top.model import TopModel
from iscsitools.trace.views.top.samples import LiveFeed
from iscsitools.trace.views.top.text import batch_lines
from iscsitools.trace.views.watch import WatchOptions

Run = Callable[..., Any]
STACK = "ram+delay+error+powerloss:1M"
TIME_OF_DAY = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
SYNCHRONIZE_CACHE = b"\x35" + bytes(9)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, one_target(STACK, "ram:1M", more='name = "faulty"')) as server:
        yield server


def test_an_error_that_is_set_is_seen_and_taken_back(served: Running, iscsitools: Run) -> None:
    with served.connect() as session:
        session.read(0, 1)
        assert iscsitools("fault", "set", IQN, "0", "error.read=100%").status == 0
        with pytest.raises(OSError, match="MEDIUM ERROR"):
            session.read(0, 1)
        session.read(0, 1, 1)
        listed = iscsitools("fault", "list").out.splitlines()
        assert listed[1].split() == [IQN, "0", "error.read", "1.0", "-", "-"]
        assert iscsitools("fault", "clear", IQN, "0").status == 0
        session.read(0, 1)


@pytest.mark.parametrize("wrong", ["error.zzz", "error.read", "zzz.read"])
def test_of_options_of_several_filters_all_are_set_or_none(served: Running, wrong: str) -> None:
    def in_force() -> list[str]:
        return [setting["option"] for each in control.faults() for setting in each["faults"]]

    with Control("faulty") as control:
        with pytest.raises(ControlError):
            control.set_faults(IQN, 0, {"delay.read": "1ms", wrong: "nonsense", "powerloss.torn": "yes"})
        assert in_force() == []
        control.set_faults(IQN, 0, {"delay.read": "1ms", "error.write": "0.5"})
        assert in_force() == ["delay.read", "error.write"]
        with pytest.raises(ControlError):
            control.clear_faults(IQN, 0, "delay.read", "error.zzz")
        assert in_force() == ["delay.read", "error.write"]
        control.clear_faults(IQN, 0, "delay.read")
        assert in_force() == ["error.write"]


def test_it_can_be_for_one_client_and_for_a_while(served: Running, iscsitools: Run) -> None:
    pattern = "*:b"
    result = iscsitools("fault", "set", IQN, "0", "error.read=100%", "--client", pattern, "--for", "0.2")
    assert (result.status, result.err) == (0, "")
    with served.connect() as one, served.connect(name="b") as other:
        one.read(0, 1)

        def reads() -> bool:
            try:
                other.read(0, 1)
            except OSError:
                return False
            return True

        eventually(reads, "the end of the fault")
    assert json.loads(iscsitools("fault", "list", "--json").out)[0]["faults"] == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("set", IQN, "0", "delay.raed=1s"), "the filter delay has no option 'raed'"),
        (("set", IQN, "0", "cow.read=1s"), f"LUN 0 of {IQN} has no filter 'cow' (it has: delay, error, powerloss)"),
        (("set", IQN, "1", "delay.read=1s"), f"LUN 1 of {IQN} has no filter 'delay' (it has: none)"),
        (("set", IQN, "9", "delay.read=1s"), f"there is no LUN 9 of {IQN}"),
        (("set", IQN, "0", "delay.read=soon"), "delay.read: "),
        (("set", IQN, "0", "read=1s"), "'read' is not FILTER.OPTION"),
        (("clear", IQN, "0", "delay.raed"), "the filter delay has no option 'raed'"),
        (("powercut", IQN, "1"), "no such LUN has the filter powerloss"),
        (("powercut", "--drop", "200%"), "--drop: "),
    ],
)
def test_what_is_wrong_is_one_line(served: Running, iscsitools: Run, arguments: tuple[str, ...], error: str) -> None:
    result = iscsitools("fault", *arguments)
    assert result.status in (1, 2)
    assert result.err.startswith(f"iscsitools: {error}")
    assert result.err.count("\n") == 1


def test_a_power_cut_takes_what_was_not_flushed(served: Running, iscsitools: Run) -> None:
    session = served.connect()
    session.write(0, b"a" * 512)
    assert session.command(SYNCHRONIZE_CACHE).good
    session.write(0, b"b" * 512)
    session.write(1, b"c" * 512)
    result = iscsitools("fault", "powercut", IQN, "0")
    assert result.out == f"LUN 0 of {IQN}: of 2 unflushed blocks 2 are lost, 0 in part\n"
    with pytest.raises(ConnectionClosedError):
        session.read(0, 1)
    session.close()
    with Session.connect(served.address, IQN) as session:
        assert session.command(bytes(6)).sense[12:14] == b"\x29\x00"
        assert session.read(0, 2) == b"a" * 512 + bytes(512)


def test_what_ends_while_the_power_is_cut_is_over(tmp_path: Path, iscsitools: Run) -> None:
    """The cut waits for the call of a SANITIZE; that this has ended is not forgotten when the power comes back."""
    document = one_target("ram+delay+powerloss:1M,delay.write=0.5s", more='name = "faulty"')
    with running(tmp_path, document) as server:
        pattern = b"\x01\x00\x00\x01x"
        with server.connect() as session:
            assert session.command(b"\x48\x81" + bytes(6) + b"\x05\x00", write=pattern).good
            assert iscsitools("fault", "powercut", IQN, "0").status == 0
        with server.connect() as session:
            eventually(lambda: session.command(bytes(6)).good, "a unit that is ready")
            assert session.command(bytes.fromhex("5e000000000000000800"), read=8).good


OTHER = "iqn.2026-11.example:other"


def test_the_power_of_the_whole_server_is_cut(tmp_path: Path, iscsitools: Run) -> None:
    """Of all targets; a LUN without the filter keeps what it has, whatever becomes of its session."""
    more = f'[[target]]\niqn = "{OTHER}"\nlun = [{{ store = "ram+powerloss:1M" }}]\n'
    document = one_target("ram+powerloss:1M", "ram:2M", more='name = "faulty"') + more
    with running(tmp_path, document) as server:
        sessions = [Session.connect(server.address, IQN), Session.connect(server.address, OTHER)]
        for session in sessions:
            session.command(bytes(6))
            session.write(0, b"d" * 4096)
            assert session.command(SYNCHRONIZE_CACHE).good
            session.write(0, b"l" * 4096)
        sessions[0].command(bytes(6), 1)
        sessions[0].write(0, b"k" * 4096, 1)
        result = iscsitools("fault", "powercut", "--json")
        assert [(each["target"], each["lun"], each["dropped"]) for each in json.loads(result.out)] == [
            (IQN, 0, 8), (OTHER, 0, 8),
        ]  # fmt: skip
        for session in sessions:
            with pytest.raises(ConnectionClosedError):
                session.read(0, 1)
            session.close()
        for iqn, lun, byte in ((IQN, 0, b"d"), (OTHER, 0, b"d"), (IQN, 1, b"k")):
            with Session.connect(server.address, iqn) as session:
                session.command(bytes(6), lun)
                assert session.read(0, 8, lun) == byte * 4096


def test_status_says_what_is_the_matter(tmp_path: Path, iscsitools: Run) -> None:
    disk = tmp_path / "disk"
    with running(
        tmp_path, one_target(STACK, f"file:{disk},size=1M", limits="max_sessions = 1", more='name = "ill"')
    ) as server:
        result = iscsitools("status", "--utc")
        assert result.status == 0
        assert result.out.startswith("ill: ok; 1 target, 2 LUNs, 0 sessions, 0 connections, up since 20")
        with Control("ill") as control:
            control.set_faults(IQN, 0, {"delay.read": "1ms"})
        result = iscsitools("status")
        assert (result.status, result.out.splitlines()[1]) == (
            1, f"warning: {IQN} LUN 0: faults are set: delay.read",
        )  # fmt: skip
        assert re.search(r", up for \d+s$", iscsitools("status", "--relative").out.splitlines()[0])
        with server.connect():
            reached = eventually(lambda: json.loads(iscsitools("status", "--json").out)["limits"])
            assert [each["limit"] for each in reached] == ["max_sessions"]
            assert reached[0]["since"] >= server.server.started
            shown = iscsitools("status").out.splitlines()[-1]
            assert re.fullmatch(f"limit max_sessions=1 since {TIME_OF_DAY}", shown)
        disk.unlink()
        result = iscsitools("status")
        assert result.status == 2
        assert f"critical: {IQN} LUN 1: the file has been deleted: it ends with the server\n" in result.out


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address", "max_sessions_per_initiator"])
def test_status_names_the_limit_that_is_reached(tmp_path: Path, iscsitools: Run, limit: str) -> None:
    with running(tmp_path, one_target("ram:1M", limits=f"{limit} = 1", more='name = "small"')) as server:
        assert json.loads(iscsitools("status", "--json").out)["limits"] == []
        with server.connect():
            (reached,) = eventually(lambda: json.loads(iscsitools("status", "--json").out)["limits"])
            assert (reached["limit"], reached["value"]) == (limit, 1)
        assert eventually(lambda: not json.loads(iscsitools("status", "--json").out)["limits"])


def test_top_marks_the_disk(served: Running, iscsitools: Run) -> None:
    with served.connect() as session, Control("faulty") as control:
        control.set_faults(IQN, 0, {"delay.read": "1ms"})
        feed = LiveFeed(WatchOptions(name="faulty"))
        for lun in (0, 1):
            session.read(0, 1, lun)
        model = TopModel()
        for name, sample in feed.sample():
            model.update(name, sample)
        feed.close()
    assert model.servers()[0].cpu is not None, "one sample has nothing before it to compare with"
    rows = [line.split()[2] for line in batch_lines(model, "client, target, LUN", "R/s") if line.startswith("127.")]
    assert sorted(rows) == ["0!", "1"]


def test_ls_shows_the_tree(served: Running, iscsitools: Run) -> None:
    with served.connect() as session, Control("faulty") as control:
        session.write(0, bytes(512))
        control.set_faults(IQN, 0, {"delay.read": "1ms"}, client="*:x", seconds=100)
        lines = iscsitools("ls").out.splitlines()
        assert lines[0] == f"faulty on {served.server.addresses[0]}"
        assert lines[1] == f"  {IQN}"
        assert lines[2].startswith("    LUN 0: ram+delay+error+powerloss:1M, 1 MiB (1 MiB allocated), serial ")
        assert lines[3].startswith("      fault delay.read=0.001 for *:x, ")
        assert lines[4].startswith("    LUN 1: ram:1M, 1 MiB (0 B allocated), serial ")
        assert lines[5].startswith("    session 1: iqn.2026-11.example:a from 127.0.0.1:")
        assert re.fullmatch(r"      \d+ commands, 0 in flight, \d+ errors?", lines[6])
        assert re.fullmatch(rf"      open for \d+s, since {TIME_OF_DAY}", lines[7])
        assert re.fullmatch(rf"      heard \d+s ago, at {TIME_OF_DAY}", lines[8])
        assert re.fullmatch(r"      open for \d+s", iscsitools("ls", "--relative").out.splitlines()[7])
        (target,) = json.loads(iscsitools("ls", "--json").out)["targets"]
        assert [lun["size"] for lun in target["luns"]] == [1 << 20, 1 << 20]
        assert [lun["allocated"] for lun in target["luns"]] == [1 << 20, 0]
        before = control.tree()["targets"][0]["sessions"][0]
        assert session.command(bytes(6), lun=5).status == 2, "there is no such unit"
        after = control.tree()["targets"][0]["sessions"][0]
        assert (after["errors"] - before["errors"], after["commands"] - before["commands"]) == (1, 1)


@pytest.mark.parametrize("command", ["ls", "status"])
def test_it_is_shown_again_until_it_is_ended(served: Running, command: str) -> None:
    words = [sys.executable, "-m", "iscsitools", command, "--name", "faulty", "--watch", "0.05", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["name"] for _ in range(3)] == ["faulty"] * 3
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
