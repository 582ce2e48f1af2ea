"""``serve --run``: a command that runs beside the server, and its exit status."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

IQN = "iqn.2026-11.example:run"
SERVE = (
    sys.executable, "-m", "iscsitools", "serve", "--portal", "127.0.0.1:0", "--iqn", IQN, "--lun", "3=ram:1M",
    "--provider", "none", "--run",
)  # fmt: skip


def serve(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SERVE, command], capture_output=True, text=True, timeout=120)


def test_the_command_finds_the_server_and_ends_it() -> None:
    done = serve(f'echo "$ISCSITOOLS_URL $ISCSITOOLS_PORTAL"; {sys.executable} -m iscsitools get | head -2')
    url, portal = done.stdout.splitlines()[0].split()
    assert url == f"iscsi://{portal}/{IQN}/3"
    assert 'provider = "none"' in done.stdout
    assert done.returncode == 0
    assert "listens on" in done.stderr


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("no-such-program", 127)])
def test_its_status_is_the_servers(command: str, status: int) -> None:
    assert serve(command).returncode == status


def test_an_empty_command_is_refused() -> None:
    """A variable of a script that is not set would be a run that passes."""
    done = serve(" ")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "iscsitools: --run: the command is empty, and would end the server at once\n"


def test_a_server_that_is_ended_ends_it() -> None:
    with subprocess.Popen([*SERVE, "echo go; exec sleep 1000"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
