"""The commands on a real target: what the initiator did, in prime numbers, is what they say, live and from a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import alone
from support.target import RunningTarget, start_target

from iscsitools.initiator import ConnectionClosedError, Opcode, Session
from iscsitools.trace.names import servers

TARGET = "iqn.2026-11.example:primes"
SMALL, LARGE = 4096, 256 << 10
READS = {SMALL: 101, LARGE: 31}
WRITES = {"immediate": (SMALL, 53), "unsolicited": (SMALL, 43), "solicited": (LARGE, 37)}
SEGMENT = 8192
"""The initiator's MaxRecvDataSegmentLength: a large read comes in 32 Data-In PDUs."""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningTarget]:
    luns = ["0=ram:8M", "1=ram+delay:8M,delay.read=5ms,delay.write=5ms"]
    arguments = [part for lun in luns for part in ("--lun", lun)]
    with start_target(tmp_path, "--iqn", TARGET, *arguments, "--name", "primes") as running:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(running.runtime))
        assert [entry.name for entry in servers()] == ["primes"]
        yield running


def connect(target: RunningTarget, **how: Any) -> Session:
    """A session that is past its unit attentions, so that only what the test does is left to count."""
    keys = {"MaxRecvDataSegmentLength": str(SEGMENT), "InitialR2T": "No", "ImmediateData": "Yes"}
    session = Session.connect(target.addresses[0], TARGET, keys=keys, **how)
    for lun in (0, 1):
        session.read_capacity(lun)
    return session


class Watching:
    """A command that runs from its start-up line to :meth:`end`, which returns what it printed."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*alone.COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # the start-up line is on standard error beside JSON, and of record
        stream = self._process.stderr if {"--json", "record"} & set(arguments) else self._process.stdout
        assert stream is not None
        line = stream.readline()
        assert "Hit Ctrl-C to end" in line, line + self._process.communicate()[1]

    def end(self) -> str:
        self._process.send_signal(signal.SIGINT)
        out, err = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, err
        return out

    def records(self) -> list[dict[str, Any]]:
        return [record for line in self.end().splitlines() for record in json.loads(line)["records"]]


def do_primes(session: Session) -> None:
    for size, count in READS.items():
        for _ in range(count):
            session.read(0, size // 512)
    for way, (size, count) in WRITES.items():
        how = {"immediate": way == "immediate", "unsolicited": way == "unsolicited"}
        for _ in range(count):
            session.write(0, bytes(size), **how)


def test_primes(target: RunningTarget, tmp_path: Path) -> None:
    recorded = tmp_path / "trace"
    forms = [["io"], ["io", "--commands"], ["who"], ["cmds"], ["top", "--batch"], ["rwlat"], ["who", "--by", "lun"]]
    with contextlib.closing(connect(target)) as session:
        before = session.log.counts()
        watching = [Watching(*form, "--json") for form in forms]
        recorder = Watching("record", "-o", str(recorded))
        do_primes(session)
        after = session.log.counts()
        io, commands, who, cmds, top, rwlat, by_lun = [process.records() for process in watching]
        recorder.end()
    moved = {opcode: after.get(opcode, 0) - before.get(opcode, 0) for opcode in Opcode}
    reads, read_bytes = sum(READS.values()), sum(size * count for size, count in READS.items())
    writes = sum(count for _, count in WRITES.values())
    write_bytes = sum(size * count for size, count in WRITES.values())
    immediate = WRITES["immediate"][1]

    assert {r["event"]: (r["count"], r["bytes"]) for r in io} == {
        "read": (READS[SMALL] + READS[LARGE] * LARGE // SEGMENT, read_bytes),
        "write": (moved[Opcode.DATA_OUT] + immediate, write_bytes),
    }
    assert {r["event"]: (r["count"], r["bytes"]) for r in commands} == {
        "read": (reads, read_bytes), "write": (writes, write_bytes),
    }  # fmt: skip
    expected = {
        "scsi-command": reads + writes, "scsi-response": writes, "data-send": moved[Opcode.DATA_IN],
        "data-receive": moved[Opcode.DATA_OUT], "data-request": moved[Opcode.R2T],
    }  # fmt: skip
    for counted in (who, by_lun):
        found = {r["event"]: r["count"] for r in counted}
        assert {event: found[event] for event in expected} == expected
        assert found["xfer-start"] == found["xfer-done"]
    assert {r["command"]: (r["count"], r["bytes"], r["check_conditions"]) for r in cmds} == {
        "READ(16)": (reads, read_bytes, 0), "WRITE(16)": (writes, write_bytes, 0),
    }  # fmt: skip
    for name, value in (("reads", reads), ("writes", writes), ("read_bytes", read_bytes), ("write_bytes", write_bytes)):
        assert sum(r[name] for r in top) == value
    assert {r["event"]: (r["count"], r["failed"]) for r in rwlat} == {"read": (reads, 0), "write": (writes, 0)}

    replayed = {tuple(form): of_file(recorded, *form) for form in forms}
    exact = ("client", "event", "count", "bytes", "command", "check_conditions", "failed", "lun")
    for form, live in zip(forms[:4], (io, commands, who, cmds), strict=True):
        assert [{k: r[k] for k in exact if k in r} for r in replayed[tuple(form)]] == [
            {k: r[k] for k in exact if k in r} for r in live
        ]
    assert sorted(map(str, replayed["who", "--by", "lun"])) == sorted(map(str, by_lun))


def of_file(path: Path, *form: str) -> list[dict[str, Any]]:
    command = [*alone.COMMAND, *form, "--json", "--read", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return [record for line in lines for record in json.loads(line)["records"]]


def test_a_slow_disk_is_seen_on_its_lun_in_the_backstore(target: RunningTarget) -> None:
    with contextlib.closing(connect(target)) as session:
        phases = Watching("rwlat", "--phases", "--json")
        slow = Watching("rwlat", "--lun", "1", "--json")
        for lun in (0, 1):
            for _ in range(13):
                session.read(0, 8, lun)
                session.write(0, bytes(SMALL), lun)
        by_lun = {(r["lun"], r["event"]): r for r in phases.records()}
        alone = {r["event"]: r for r in slow.records()}
    for event in ("read", "write"):
        delayed, other = by_lun[1, event], by_lun[0, event]
        assert (delayed["count"], other["count"]) == (13, 13)
        assert delayed["backstore_ns"] >= 5_000_000
        assert other["backstore_ns"] < delayed["backstore_ns"]
        assert delayed["backstore_ns"] > 2 * (delayed["waiting_ns"] + delayed["sending_ns"])
        assert alone[event]["count"] == 13
        assert alone[event]["p50_ns"] >= 4_700_000  # the middle of a bucket may be a sixteenth below


def test_a_slow_client_is_seen_in_sending(target: RunningTarget) -> None:
    """The answers are more than the two sockets hold, and the client does not read for half a second."""
    with contextlib.closing(connect(target)) as session:
        session.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        phases = Watching("rwlat", "--phases", "--json")
        tasks = [session.start_command(read16(0, 8192), 0, read=8192 * 512) for _ in range(4)]
        time.sleep(0.5)  # this is the slowness that is to be seen
        for task in tasks:
            assert session.wait(task).good
        (record,) = phases.records()
    assert record["count"] == 4
    assert record["sending_ns"] > record["backstore_ns"]


def read16(lba: int, blocks: int) -> bytes:
    return bytes([0x88, 0]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def test_sessions_and_drop(target: RunningTarget) -> None:
    with contextlib.closing(connect(target, initiator="iqn.2026-11.example:who")) as session:
        session.read(0, 8)
        listed = json.loads(command("sessions", "--json").stdout)
        assert [(s["initiator"], s["target"]) for s in listed] == [("iqn.2026-11.example:who", TARGET)]
        assert listed[0]["read_bytes"] == SMALL + 2 * 32  # two READ CAPACITY
        assert listed[0]["keys"]["InitialR2T"] == "No"
        assert command("sessions", "drop", listed[0]["id"]).returncode == 0
        assert command("sessions").stdout == "No sessions.\n"
        with pytest.raises(ConnectionClosedError):
            session.read(0, 8)
    assert command("sessions", "drop", "77").returncode == 1


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*alone.COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=os.environ)
