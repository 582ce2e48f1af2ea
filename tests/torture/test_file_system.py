"""`iscsitools fault powercut` under a file system of the Linux kernel's initiator: every fsynced file is there.

The initiator is in the lab's guest, the target here. The guest's files are written and fsynced while the power of the
disk goes; it logs in again, fsck mends, and each file has to be what it was when it was fsynced, or as it was made
since. Three rounds here; ``make torture`` plays ten for each size of block (ISCSITOOLS_TORTURE, ISCSITOOLS_SEED).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab.machine import HOST, Machine, Setup
from lab.testing import needs_lab
from support.gate import Gate
from support.target import RunningTarget, start_target

from .files import ABSENT, ANY, Files
from .load import seeds

IQN = "iqn.2026-11.example:files"
LONG = "ISCSITOOLS_TORTURE" in os.environ
ROUNDS = 10 if LONG else 3
LIMIT = 600.0
"""Seconds for a boot, or for a file system to be mended: a few on an idle machine, and minutes on one that is not."""


class Console:
    """What the guest prints, a line at a time, for what is kept of it outside."""

    def __init__(self, machine: Machine, files: Files) -> None:
        self._machine = machine
        self._files = files
        self._read = 0

    def follow(self, until: str = "", synced: int = 0) -> None:
        """Go on until a line that begins so, or until so many files more have become durable."""
        wanted = self._files.synced + synced
        end = time.monotonic() + LIMIT
        while True:
            running = self._machine.running
            lines = self._machine.output[self._read :].splitlines(keepends=True)
            for line in (line for line in lines if line.endswith("\n")):
                self._read += len(line)
                assert not line.startswith("FAILED"), self._machine.output[self._read - len(line) :]
                self._files.heard(line.rstrip())
                if (until and line.startswith(until)) or (synced and self._files.synced >= wanted):
                    return
            assert running, f"the guest ended:\n{self._machine.output[-2000:]}\n{self._machine.console[-2000:]}"
            assert time.monotonic() < end, f"no {until or 'synced file'} after {LIMIT} s"
            time.sleep(0.02)


def power_cut(target: RunningTarget, seed: int) -> dict[str, int]:
    """Cut the power of the disk; what it lost."""
    numbers = random.Random(seed)
    words = [
        "--name",
        f"iscsi{target.pid}",
        "--drop",
        f"{numbers.choice((30, 50, 70, 100))}%",
        "--seed",
        str(seed),
        "--torn",
        "--json",
    ]
    command = [sys.executable, "-m", "iscsitools", "fault", "powercut", IQN, "0", *words]
    env = os.environ | {"XDG_RUNTIME_DIR": str(target.runtime)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    print(" ".join(words[2:4]), report)
    return {key: report[key] for key in ("unflushed", "dropped", "torn")}


@pytest.mark.lab
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block_size", [4096, 512] if LONG else [4096])
def test_every_fsynced_file_survives_a_power_cut_of_the_disk(block_size: int, tmp_path: Path) -> None:
    home = needs_lab()
    (tmp_path / "host").mkdir()
    shutil.copy(Path(__file__).with_name("guest_files.py"), tmp_path / "host")
    lun = f"ram+powerloss:192M,block_size={block_size}"  # a flush takes no time: most cuts come between two
    files = Files()
    lost = dict.fromkeys(("unflushed", "dropped", "torn"), 0)
    first = seeds(1)[0]
    with (
        start_target(tmp_path, "--iqn", IQN, "--lun", lun, "--provider", "none") as target,
        Gate(target.addresses[0]) as gate,
        Machine(
            Setup(f"exec python3 /host/guest_files.py {IQN} {HOST}:{gate.port} {ROUNDS} {first}", tmp_path / "host"),
            home,
        ) as machine,
    ):
        console = Console(machine, files)
        for seed in range(first, first + ROUNDS):
            print(f"seed {seed}, blocks of {block_size} bytes")
            console.follow(until="looked")
            assert files.wrong() == [], f"before seed {seed}"
            files.restart()
            console.follow(synced=random.Random(seed).randrange(5, 60))
            # As after a power failure, nothing that the guest has in memory comes after it.
            gate.is_open = False
            for key, count in power_cut(target, seed).items():
                lost[key] += count
            console.follow(until="down")
            gate.is_open = True
        console.follow(until="down")
        assert "cache write back" in machine.output
    assert files.wrong() == [], "at the end"
    print(f"{files.synced} files became durable; blocks: {lost}")
    assert lost["dropped"] > 0


def test_a_file_that_is_missing_or_older_than_it_may_be_is_found_out() -> None:
    files = Files()
    said = (
        "synced a 1",
        "synced b 2",
        "replacing b 3",
        "synced c 4",
        "changing c",
        "synced d 5",
        "removing d",
        "synced e 6",
    )
    for line in (*said, "removing e", "removed e", "found new 7"):
        files.heard(line)
    for found, wrong in (
        ({"a": "1", "b": "2", "c": "x", "d": "5"}, []),
        ({"a": "1", "b": "3", "c": "4"}, []),
        ({"a": "2", "b": "1", "c": ABSENT, "d": "6", "e": "6"}, ["a", "b", "c", "d", "e"]),
        ({}, ["a", "b", "c"]),
    ):  # fmt: skip
        files.found = dict(found)
        assert [line.partition(":")[0] for line in files.wrong()] == wrong
    files.found = {"a": "1"}
    files.restart()
    assert files.allowed == {"a": {"1"}}
    assert ANY not in files.allowed["a"]
