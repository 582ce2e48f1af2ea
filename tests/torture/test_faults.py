"""A target under which the system's calls fail: a library that is preloaded has them fail as a file says."""

from __future__ import annotations

import itertools
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target
from support.tools import needs

from iscsitools.initiator import Session

IQN = "iqn.2026-11.example:faults"
SYNC = b"\x35" + bytes(9)
EIO, ENOSPC = 5, 28
READ_ERROR, WRITE_ERROR, NO_SPACE = (3, 0x11, 0), (3, 0x0C, 0), (7, 0x27, 7)
Control = Callable[..., None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the library is for Linux")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gcc = needs("gcc", "gcc")
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run([gcc, *flags, "-o", path, source, "-ldl"], check=True)
    return path


@pytest.fixture
def control(tmp_path: Path) -> Control:
    """Say which calls fail from now on, as ``sync 5 1``."""
    ticks = itertools.count(1)

    def write(*lines: str) -> None:
        path = tmp_path / "control"
        path.write_text("".join(f"{line}\n" for line in lines))
        at = next(ticks)
        os.utime(path, (at, at))  # the library looks at the time of the last change

    write()
    return write


@pytest.fixture
def lun(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Calls fail that go to its file; with the parameter cow, to its overlay."""
    cow = getattr(request, "param", "file") == "cow"
    disk = tmp_path / ("base" if cow else "victim.img")
    disk.write_bytes(b"d" * (4 << 20))
    return f"file+cow:{disk},cow.file={tmp_path}/victim.img" if cow else f"file:{disk}"


@pytest.fixture
def target(tmp_path: Path, library: Path, control: Control, lun: str) -> Iterator[RunningTarget]:
    env = {"LD_PRELOAD": str(library), "FAULT_MATCH": "/victim.img", "FAULT_CONTROL": str(tmp_path / "control")}
    with start_target(tmp_path, "--iqn", IQN, "--lun", lun, "--provider", "none", env=env) as started:
        yield started


@pytest.fixture
def session(target: RunningTarget) -> Iterator[Session]:
    with Session.connect(target.addresses[0], IQN) as session:
        session.command(bytes(6))
        assert session.command(SYNC).good
        yield session


def write(session: Session, lba: int, fua: bool = False) -> tuple[int, int, int]:
    cdb = struct.pack(">BBIBHB", 0x2A, 8 if fua else 0, lba, 0, 8, 0)
    return session.command(cdb, write=b"w" * 4096).sense_code


def read(session: Session, lba: int, fua: bool = False) -> tuple[int, int, int]:
    return session.command(struct.pack(">BBIBHB", 0x28, 8 if fua else 0, lba, 0, 8, 0), read=4096).sense_code


GOOD = (0, 0, 0)


def test_a_failed_flush_is_final_and_told(target: RunningTarget, session: Session, control: Control) -> None:
    assert write(session, 0) == GOOD
    control(f"sync {EIO} 1")
    assert session.command(SYNC).sense_code == WRITE_ERROR
    control()
    for _ in range(2):
        assert session.command(SYNC).sense_code == WRITE_ERROR
        assert write(session, 8) == write(session, 16, fua=True) == WRITE_ERROR
    assert read(session, 0) == GOOD
    assert read(session, 0, fua=True) == READ_ERROR
    session.close()
    output = target.stop()
    assert output.count("victim.img: a flush failed (Input/output error): written data may be lost") == 1
    assert "flushing at the end failed" in output
    assert target.process.returncode == 1


def said(target: RunningTarget, *words: str) -> tuple[int, list[str]]:
    """The status of a command that asks this server, and the lines that it prints."""
    command = [sys.executable, "-m", "iscsitools", *words, "--name", f"iscsi{target.pid}"]
    env = os.environ | {"XDG_RUNTIME_DIR": str(target.runtime)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    return done.returncode, [line.strip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("lun", ["file", "cow"], indirect=True)
def test_a_failed_flush_is_listed(target: RunningTarget, session: Session, control: Control) -> None:
    assert write(session, 0) == GOOD
    assert not any("TROUBLE" in line for line in said(target, "sessions")[1])
    assert said(target, "status")[0] == 0
    control(f"sync {EIO} 1")
    assert session.command(SYNC).sense_code == WRITE_ERROR
    control()
    trouble = "a flush failed (Input/output error): writes fail until it is opened again"
    status, lines = said(target, "sessions")
    assert status == 0
    assert f"TROUBLE: LUN 0: {trouble}" in " ".join(lines)
    assert json.loads("".join(said(target, "sessions", "--json")[1]))[0]["trouble"] == [f"LUN 0: {trouble}"]
    assert f"TROUBLE: {trouble}" in said(target, "ls")[1]
    status, lines = said(target, "status")
    assert (status, lines[1]) == (2, f"critical: {IQN} LUN 0: {trouble}")
    session.close()
    target.stop()
    assert target.process.returncode == 1


def test_a_durable_write_that_fails_is_a_failed_flush(session: Session, control: Control) -> None:
    control(f"durable {EIO} 1")
    assert write(session, 0, fua=True) == WRITE_ERROR
    assert session.command(SYNC).sense_code == WRITE_ERROR


@pytest.mark.parametrize("pending", [True, False])
def test_no_space_that_may_be_late_news_is_told_by_the_next_flush(
    target: RunningTarget, session: Session, control: Control, pending: bool
) -> None:
    if pending:
        assert write(session, 0) == GOOD
    control(f"durable {ENOSPC} 1", f"write {ENOSPC} 1")
    assert write(session, 80, fua=True) == NO_SPACE
    control()
    assert session.command(SYNC).sense_code == (NO_SPACE if pending else GOOD)
    assert session.command(SYNC).good
    assert write(session, 80, fua=True) == GOOD
    session.close()
    target.stop()
    assert target.process.returncode == 0


def test_no_space_for_the_durable_part_only_is_a_loss(session: Session, control: Control) -> None:
    """The plain write finds space, so it was something else that did not."""
    control(f"durable {ENOSPC} 1")
    assert write(session, 80, fua=True) == NO_SPACE
    control()
    assert session.command(SYNC).sense_code == WRITE_ERROR


def test_reads_that_fail_fail_alone(session: Session, control: Control) -> None:
    control(f"read {EIO} 100")
    assert read(session, 0) == READ_ERROR
    control()
    assert read(session, 0) == GOOD


def test_short_writes_are_completed(session: Session, control: Control) -> None:
    control("short 1000 3")
    assert write(session, 0) == GOOD
    control("short 1000 3")
    assert write(session, 8, fua=True) == GOOD
    control()
    assert session.read(0, 16) == b"w" * 8192
