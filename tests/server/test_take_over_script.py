"""What the package's upgrade runs, with a systemctl of the test's that knows one real server as a service."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import Session

from .harness import IQN, TEST_UNIT_READY, eventually

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "systemd" / "take-over"
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$HERE/asked"
case $1 in
list-units) echo "iscsitools.service loaded active running iSCSI target" ;;
show) cat "$HERE/pid" ;;
kill) kill -USR2 "$(cat "$HERE/pid")" ;;
esac
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningTarget]:
    """A server, and in the folder ``bin`` a systemctl that takes it for iscsitools.service."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL)
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    disk = f"file:{tmp_path / 'disk'},size=1M"
    with start_target(tmp_path, "--iqn", IQN, "--lun", disk, "--name", "iscsitools") as target:
        (tmp_path / "pid").write_text(str(target.pid))
        yield target


def take_over(seconds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", str(SCRIPT)], stderr=subprocess.PIPE, text=True, env=os.environ | {"TAKE_OVER_SECONDS": str(seconds)}
    )


def test_each_service_that_runs_is_taken_over(service: RunningTarget, tmp_path: Path) -> None:
    with take_over(60) as script:
        assert service.process.wait(60) == 0
        # What a service manager is told by MAINPID.
        (pid,) = re.findall(r"another server has taken over pid=(\d+)", eventually(lambda: service.output))
        (tmp_path / "pid").write_text(pid)
        assert script.wait(60) == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert "kill --kill-whom=main --signal=SIGUSR2 iscsitools.service" in asked
    with Session.connect(service.addresses[0], IQN) as session:
        session.command(TEST_UNIT_READY)
        assert session.read_capacity() == (2048, 512)
    os.kill(int(pid), signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_one_that_cannot_be_is_told_and_runs_on(
    service: RunningTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").rename(tmp_path / "gone")  # what serves it goes on; nobody can open it anew
    (tmp_path / "disk").mkdir()
    with take_over(5) as script:
        assert script.wait(60) == 1
        assert script.stderr is not None
        assert "iscsitools.service was not taken over and runs on as it was" in script.stderr.read()
    eventually(lambda: "has ended with status" in service.output)
    (tmp_path / "disk").rmdir()
    (tmp_path / "gone").rename(tmp_path / "disk")
    with Session.connect(service.addresses[0], IQN) as session:
        session.command(TEST_UNIT_READY)
        assert session.read_capacity() == (2048, 512)
