"""SIGHUP: the terminal was closed, or somebody sent it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.target import START_SECONDS, STOP_SECONDS
from support.tools import needs_terminal

from iscsitools.initiator import Session

IQN = "iqn.2026-11.example:terminal"


class InTerminal:
    """``serve`` as the leader of a session that has a terminal; its output goes to a file, to be read afterwards."""

    def __init__(self, folder: Path, prefix: Sequence[str]) -> None:
        needs_terminal()
        self.master, slave = pty.openpty()
        read_end, write_end = os.pipe()
        command = [*prefix, sys.executable, "-m", "iscsitools", "serve", "--provider", "none"]
        self.process = subprocess.Popen(
            [*command, "--portal", "127.0.0.1:0", "--iqn", IQN, "--lun", f"file:{folder}/disk,size=1M"],
            stdin=slave, stdout=write_end, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        os.close(write_end)
        self.output = os.fdopen(read_end, encoding="utf-8")
        line = next(line for line in self.output if "listens on" in line)
        self.address = "127.0.0.1", int(line.rpartition(":")[2])

    def close_terminal(self) -> None:
        """The kernel sends SIGHUP before this returns."""
        os.close(self.master)
        self.master = -1

    def stop(self) -> None:
        if self.master >= 0:
            os.close(self.master)
        self.process.kill()
        self.process.wait(START_SECONDS)
        self.output.close()


@contextmanager
def in_terminal(folder: Path, *prefix: str) -> Iterator[InTerminal]:
    target = InTerminal(folder, prefix)
    try:
        yield target
    finally:
        target.stop()


@pytest.fixture
def serves(tmp_path: Path) -> Iterator[InTerminal]:
    with in_terminal(tmp_path) as target:
        yield target


def test_a_target_ends_in_an_orderly_way_with_its_terminal(serves: InTerminal) -> None:
    serves.close_terminal()
    assert serves.process.wait(STOP_SECONDS) == 0


def test_under_nohup_it_outlives_its_terminal(tmp_path: Path) -> None:
    with in_terminal(tmp_path, "nohup") as target:
        target.close_terminal()
        with Session.connect(target.address, IQN) as session:
            assert session.read_capacity() == (2048, 512)
        target.process.send_signal(signal.SIGTERM)
        assert target.process.wait(STOP_SECONDS) == 0


def test_a_sighup_that_was_sent_ends_nothing_while_the_terminal_is_there(serves: InTerminal, tmp_path: Path) -> None:
    os.truncate(tmp_path / "disk", 2 << 20)
    serves.process.send_signal(signal.SIGHUP)
    line = next(line for line in serves.output if "size" in line)
    assert "its size has changed blocks=4096 before=2048" in line
    with Session.connect(serves.address, IQN) as session:
        assert session.read_capacity() == (4096, 512)
