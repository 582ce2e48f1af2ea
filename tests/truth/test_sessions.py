"""What a recording says of sessions and of commands under way is what the server said when it was made."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import alone
from support.target import RunningTarget, start_target

from iscsitools.initiator import Opcode
from iscsitools.trace import TraceError, WatchedServer, open_file

from . import paths, work
from .commands import Watching, environment, replay, watch_socket

PATIENCE = 30
FILTERS: tuple[tuple[str, ...], ...] = (
    (),
    ("--lun", str(work.SMALL)),
    ("--lun", str(work.FAR)),
    ("--lun", "0x412c"),
    ("--lun", "0xc101"),
    ("--lun", str(work.LARGE)),
    ("--client", "iqn.2026-11.example:i2"),
    ("--client", "127.0.0.1", "--lun", str(work.SMALL)),
    ("--target", "iqn.2026-11.example:none"),
)
SEEN = {
    (): "1 2", ("--lun", str(work.SMALL)): "1", ("--lun", str(work.FAR)): "1 2", ("--lun", "0x412c"): "1 2",
    ("--lun", "0xc101"): "", ("--lun", str(work.LARGE)): "", ("--client", "iqn.2026-11.example:i2"): "2",
    ("--client", "127.0.0.1", "--lun", str(work.SMALL)): "1", ("--target", "iqn.2026-11.example:none"): "",
}  # fmt: skip
"""The initiators that each finds: the first one works on SMALL and FAR, the other on FAR."""


@pytest.fixture(scope="module", params=paths.NATIVE)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    with serve(tmp_path_factory.mktemp("target"), *paths.options(request)) as running:
        yield running


def serve(directory: Path, *options: str) -> RunningTarget:
    luns = [part for number, store in work.LUNS.items() for part in ("--lun", f"{number}={store}")]
    return start_target(directory, *options, "--iqn", work.TARGET, *luns)


def live(target: RunningTarget, *arguments: str) -> str:
    """What a command prints of the running target."""
    return subprocess.run(
        [*alone.COMMAND, *arguments], capture_output=True, text=True, check=True, timeout=60, env=environment(target)
    ).stdout  # fmt: skip


def ageless(printed: str) -> list[dict[str, Any]]:
    """Sessions without their age, which goes on."""
    return [{**session, "age": None} for session in json.loads(printed)]


def numbers(sessions: list[dict[str, Any]]) -> str:
    return " ".join(session["initiator"].removeprefix("iqn.2026-11.example:i") for session in sessions)


def test_sessions_of_a_recording(target: RunningTarget, tmp_path: Path) -> None:
    """They were there before it or came later; one that left is in neither list; the counts are those of the end."""
    file = tmp_path / "trace"
    address = target.addresses[0]
    with work.connect(address, 1, HeaderDigest="CRC32C") as first:
        recording = Watching(target, "record", "--output", str(file))
        with work.connect(address, 2, MaxBurstLength="65536") as second, work.connect(address, 3) as third:
            for session, lun in ((first, work.SMALL), (first, work.FAR), (second, work.FAR), (third, work.LARGE)):
                session.read_capacity(lun)
                session.write(0, bytes(8192), lun, 512 if lun != work.LARGE else 4096)
            third.logout()
            settle(target, 2)
            # Nothing moves any more: what is asked now is what the recording ends with.
            expected = {which: ageless(live(target, "sessions", "--json", *which)) for which in FILTERS}
            recording.end()
    assert {which: numbers(found) for which, found in expected.items()} == SEEN
    assert [session["luns"] for session in expected[()]] == [[work.SMALL, work.FAR], [work.FAR]]
    for which in FILTERS:
        assert ageless(replay(file, "sessions", "--json", *which)) == expected[which]


def settle(target: RunningTarget, sessions: int) -> None:
    """A logout is answered before the connection is gone."""
    with WatchedServer(socket=watch_socket(target)) as server:
        wait(lambda: len(server.sessions()) == sessions)


def wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_as_people_read_them(target: RunningTarget, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    with work.connect(target.addresses[0], 1) as session:
        session.read_capacity(work.SMALL)
        recording = Watching(target, "record", "--output", str(file))
        expected = live(target, "sessions")
        recording.end()
    without_age = [line.partition("   age ")[0] for line in expected.splitlines()]
    assert [line.partition("   age ")[0] for line in replay(file, "sessions").splitlines()] == without_age
    assert "commands" in expected


def test_a_filtered_recording_has_the_sessions_of_its_filter(target: RunningTarget, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    with work.connect(target.addresses[0], 1) as first, work.connect(target.addresses[0], 2) as second:
        recording = Watching(target, "record", "--output", str(file), "--lun", str(work.FAR))
        first.read_capacity(work.SMALL)
        second.read_capacity(work.FAR)
        recording.end()
    assert numbers(json.loads(replay(file, "sessions", "--json"))) == "2"


def test_a_killed_server_leaves_the_sessions_that_had_come(tmp_path: Path) -> None:
    """The list is asked for anew when a session comes, not only at the end."""
    file = tmp_path / "trace"
    with serve(tmp_path) as target:
        recording = Watching(target, "record", "--output", str(file))
        with work.connect(target.addresses[0], 1):
            with work.connect(target.addresses[0], 2) as other:
                wait(lambda: numbers(recorded_sessions(file)) == "1 2")
                other.logout()
            wait(lambda: numbers(recorded_sessions(file)) == "1")
            target.process.send_signal(signal.SIGKILL)
            target.process.wait(PATIENCE)
            recording.left()
    assert numbers(json.loads(replay(file, "sessions", "--json"))) == "1"


def recorded_sessions(file: Path) -> list[dict[str, Any]]:
    """Those of a file that is being written."""
    try:
        with open_file(file) as trace:
            for _ in trace:
                pass
            return trace.sessions or []
    except TraceError:
        return []  # not even its header is whole yet


def test_top_has_what_the_server_said_of_itself(target: RunningTarget, tmp_path: Path) -> None:
    """Sessions, commands under way by unit, and its CPU time once it was told twice."""
    file = tmp_path / "trace"
    with work.connect(target.addresses[0], 1) as session:
        session.read_capacity(work.SMALL)
        session.read_capacity(work.FAR)
        recording = Watching(target, "record", "--output", str(file))
        for lun in (work.SMALL, work.SMALL, work.FAR):
            session.start_command(
                work.write10(0, 100), lun, write=bytes(51200), immediate=False, unsolicited=False, hold_r2ts=True
            )
            session.until(lambda pdu: pdu.opcode == Opcode.R2T)
        with WatchedServer(socket=watch_socket(target)) as server:
            under_way = {entry["lun"]: entry["commands"] for entry in server.status()["in_flight"]}
        time.sleep(2.5)  # the recorder asks every second
        session.read(0, 8, work.SMALL)
        recording.end()
    reports = [json.loads(line) for line in replay(file, "top", "--json", "1").splitlines()]
    assert under_way == {work.SMALL: 2, work.FAR: 1}
    assert {record["lun"]: record["in_flight"] for record in reports[-1]["records"]} == under_way
    header = replay(file, "top", "1").splitlines()[-5]
    assert ": 1 session, CPU " in header
    assert "CPU -" not in header
