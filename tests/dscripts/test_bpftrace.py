"""The bpftrace scripts against a load of known numbers, as root, on this kernel."""

from __future__ import annotations

import json
import os
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dtrace import scene
from dtrace.reports import lines, logins, maps, read, reservations, rows
from support.target import start_target
from support.tools import missing, needs

from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.initiator import Opcode, Plan, Session, run_load
from iscsitools.provider.backend import attach_path, survey
from iscsitools.wire.operations import OPERATIONS, SERVICE_ACTIONS

pytestmark = pytest.mark.slow
Scene = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def program() -> str:
    """The path of bpftrace, where it can see the probes."""
    path = needs("bpftrace", "bpftrace")
    if os.geteuid():
        missing("bpftrace needs root")
    if reason := next(backend.reason for backend in survey() if backend.name == "sdt"):
        missing(reason)
    return path


@pytest.fixture(scope="module")
def played(program: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """All scripts at once, attached to one target, and what each client did."""
    out = tmp_path_factory.mktemp("scene")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(out))
        scene.play(out, {name: command(program, name) for name in scene.SCRIPTS})
    return out, json.loads((out / "expected.json").read_text())


def command(program: str, name: str, *arguments: str) -> list[str]:
    script = str(DSCRIPTS / "bpftrace" / f"{name}.bt")
    return [program, "-p", "{pid}", script, str(attach_path()), *(arguments or scene.ARGUMENTS.get(name, ()))]


def report(played: Scene, name: str) -> dict[str, dict[tuple[str, ...], int]]:
    return maps(read(played[0], name))


def by_client(played: Scene, field: str) -> dict[tuple[str, str], Any]:
    """A field of what was done, by client and the field's own key."""
    return {(client, key): value for client, done in played[1].items() for key, value in done[field].items() if value}


def test_no_script_draws_a_warning(played: Scene) -> None:
    for name in scene.SCRIPTS:
        assert "WARNING" not in (played[0] / f"{name}.err").read_text()


def test_who(played: Scene) -> None:
    assert report(played, "iscsiwho")["events"] == by_client(played, "events")


def test_io(played: Scene) -> None:
    found = report(played, "iscsiio")
    assert found["count"] == {key: count for key, (count, _) in by_client(played, "io").items()}
    assert found["bytes"] == {key: size // 1024 for key, (_, size) in by_client(played, "io").items()}


def test_rwlat(played: Scene) -> None:
    found = report(played, "iscsirwlat")
    ended = {(c, op): n for op in ("read", "write") for (c,), n in found[f"{op}_ns"].items()}
    assert ended == by_client(played, "ended")
    assert found["failed"] == by_client(played, "failed")


def test_commands(played: Scene) -> None:
    found = report(played, "iscsicmds")["commands"]
    codes: Counter[tuple[str, str]] = Counter()
    for (client, _, code, _), count in found.items():
        codes[client, code] += count
    assert codes == by_client(played, "opcodes")
    # By the names and service actions of the live trace, as its twin.
    for _, name, code, action in found:
        assert name == SERVICE_ACTIONS.get((int(code), int(action)), OPERATIONS[int(code)])
    assert {"READ CAPACITY(16)", "PR OUT RESERVE", "WRITE(16)", "TEST UNIT READY"} <= {name for _, name, _, _ in found}


def test_transfers(played: Scene) -> None:
    expected = {(c, *key.split()): n for (c, key), n in by_client(played, "transfers").items()}
    assert report(played, "iscsixfer")["transfers"] == expected
    found = report(played, "iscsirwtime")
    for operation in ("read", "write"):
        sums: Counter[tuple[str, ...]] = Counter()
        for (client, event, _), count in expected.items():
            if event == operation:
                sums[client, scene.TARGET] += count
        assert found[f"{operation}_ns"] == sums


def test_phases(played: Scene) -> None:
    found = report(played, "iscsiphases")
    ended = by_client(played, "ended")
    for operation, phase in (("read", "sending"), ("write", "waiting")):
        expected = {(c, "0"): n for (c, event), n in ended.items() if event == operation}
        assert found[f"{operation}s_backstore_ns"] == expected
        assert found[f"{operation}s_{phase}_ns"] == expected


def test_snoop(played: Scene) -> None:
    found = Counter(
        (words[1].rpartition(":")[0].strip("[]"), words[2]) for words in lines(read(played[0], "iscsisnoop"))
    )
    assert found == by_client(played, "events")


def test_slower_prints_every_command_that_ended(played: Scene) -> None:
    found = lines(read(played[0], "iscsislower"))
    commands = Counter((words[1].rpartition(":")[0].strip("[]"), str(int(words[4], 16))) for words in found)
    assert commands == by_client(played, "opcodes")


def test_what_a_filter_delays_is_slow(program: str, tmp_path: Path) -> None:
    """iscsislower, which takes 10 ms where no other time is given, and iscsilat's column of 64 ms."""
    luns = ("--lun", "0=ram:1M", "--lun", "1=ram+delay:1M,delay.read=100ms")
    tracers = {}
    with start_target(tmp_path, "--iqn", scene.TARGET, *luns) as target:
        try:
            for name in ("iscsislower", "iscsilat"):
                script = str(DSCRIPTS / "bpftrace" / f"{name}.bt")
                words = [program, "-p", str(target.pid), script, str(attach_path())]
                tracers[name] = scene.start(tmp_path, name, words)
                scene.ready(tmp_path, name, tracers[name])
            (address,) = target.addresses
            socket.create_connection(address).close()  # it looks at the probes when it wakes up
            with Session.connect(address, scene.TARGET) as session:
                for lun in (0, 1):
                    session.read_capacity(lun)
                for lba in range(100):
                    session.read(lba, 1, 0, 512)
                for _ in range(3):
                    session.read(7, 2, 1, 512)
                session.logout()
            scene.stop(tmp_path, tracers)
        finally:
            for process in tracers.values():
                process.kill()
                process.wait()
    luns_of_reads = Counter(words[2] for words in lines(read(tmp_path, "iscsislower")) if words[4] in ("28", "88"))
    assert luns_of_reads["1"] == 3
    assert luns_of_reads["0"] < 100
    found = rows(read(tmp_path, "iscsilat"), 2)
    assert found["read", "512"][0] == 100
    count, *percents = found["read", "1024"]
    assert count == 3
    assert percents[:6] == [0] * 6  # less than 64 ms


def test_top_adds_up(played: Scene) -> None:
    found = top(read(played[0], "iscsitop"))
    expected = {}
    for client, done in played[1].items():
        (reads, read_bytes), (writes, write_bytes) = done["io"]["read"], done["io"]["write"]
        expected[client] = [done["events"]["scsi-command"], reads, read_bytes // 1024, writes, write_bytes // 1024]
    assert found == expected


def test_top_prints_no_map(played: Scene) -> None:
    assert "@" not in read(played[0], "iscsitop")


def top(text: str) -> dict[str, list[int]]:
    """The sums of iscsitop's columns over all reports, by client."""
    found: dict[str, list[int]] = {}
    for row in re.findall(r"^   (\S+)((?: +\d+){5})$", text, re.M):
        sums = found.setdefault(row[0], [0] * 5)
        for place, number in enumerate(row[1].split()):
            sums[place] += int(number)
    return found


def test_latency_by_size(played: Scene) -> None:
    found = rows(read(played[0], "iscsilat"), 2)
    expected: Counter[tuple[str, str]] = Counter()
    for done in played[1].values():
        for key, count in done["sizes"].items():
            event, size = key.split()
            expected[event, size] += count
    assert {key: numbers[0] for key, numbers in found.items()} == expected
    for _, *percents in found.values():
        assert percents == sorted(percents)
        assert percents[-1] == 100


def test_seeks(played: Scene) -> None:
    found = report(played, "iscsiseek")
    for client, done in played[1].items():
        count, sequential = done["seeks"]["count"], done["seeks"]["sequential"]
        assert found["count"][client, "0"] == found["distance_blocks"][client, "0"] == count
        assert found["sequential_percent"][client, "0"] == 100 * sequential // count


def test_reservations(played: Scene) -> None:
    assert report(played, "iscsireserve")["refused"] == {
        (client, "0", event): count for (client, event), count in by_client(played, "refused").items()
    }
    names = {str(action): SERVICE_ACTIONS[0x5F, action].removeprefix("PR OUT ") for action in range(8)}
    expected = {(client, names[action]): n for (client, action), n in by_client(played, "reservations").items()}
    assert reservations(read(played[0], "iscsireserve")) == expected


def test_logins(played: Scene) -> None:
    found = report(played, "iscsilogin")
    expected = {(client, event): n for (client, event), n in by_client(played, "logins").items()}
    assert {(c, event): n for event, counts in found.items() for (c, _), n in counts.items()} == expected
    printed = {(client, "failed" if result == "security" else result): n
               for (client, result), n in logins(read(played[0], "iscsilogin")).items()}  # fmt: skip
    assert printed == {key: n for key, n in expected.items() if key[1] != "begun"}


def test_top_loses_nothing_of_a_load_that_goes_on(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    target, ports = scene.serve(tmp_path)
    tracer = None
    done = 0
    try:
        words = [word.replace("{pid}", str(target.pid)) for word in command(program, "iscsitop", "2")]
        tracer = scene.start(tmp_path, "iscsitop", words)
        scene.ready(tmp_path, "iscsitop", tracer)
        scene.wake(ports)
        with Session.connect(("127.0.0.1", ports["127.0.0.1"]), scene.TARGET) as session:
            while len(re.findall(r"^\d\d:\d\d:\d\d$", read(tmp_path, "iscsitop"), re.M)) < 3:
                done += run_load(session, Plan(reads=500, depth=16)).reads
            commands = session.log.counts()[Opcode.SCSI_COMMAND]
            session.logout()
        scene.stop(tmp_path, {"iscsitop": tracer})
    finally:
        for process in (target, tracer):
            if process is not None:
                process.kill()
                process.wait()
    (found,) = top(read(tmp_path, "iscsitop")).values()
    assert found[0] == commands
    assert found[1] >= done
