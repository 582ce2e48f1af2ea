"""Standard streams that whoever started us has closed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.alone import COMMAND


def shell(redirections: str, *arguments: str) -> list[str]:
    return ["sh", "-c", f'exec "$0" "$@" {redirections}', *COMMAND, *arguments]


@pytest.mark.parametrize("arguments", [["--version"], ["backstores"], ["plugins"], ["config", "example"], ["probes"]])
@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_commands_work_without_them(arguments: list[str], redirections: str) -> None:
    done = subprocess.run(shell(redirections, *arguments), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_error_is_one_line_without_standard_output() -> None:
    done = subprocess.run(shell(">&-", "sessions"), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("iscsitools: no running server")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-"])
def test_serve_serves_without_them(tmp_path: Path, redirections: str) -> None:
    """The descriptors that were closed must not become those of sockets and disks, and log lines land in them."""
    disk = tmp_path / "disk.img"
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    arguments = ["serve", "--name", "closed", "--portal", "127.0.0.1:0", "--lun", f"file:{disk},size=1M"]
    with subprocess.Popen(shell(redirections, *arguments), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (runtime / "iscsitools" / "closed.watch").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for number in (0, 1, 2):
            target = os.readlink(f"/proc/{process.pid}/fd/{number}")
            assert target == "/dev/null" or "pipe" in target or target.startswith("/dev/"), (number, target)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert disk.read_bytes() == bytes(1 << 20)
