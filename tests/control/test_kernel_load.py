"""The Linux kernel's initiator, in the lab's guest, with a verified load through an apply of everything and a takeover.

The target is here; the guest sees at most one lost connection for each session, and no error.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from lab.machine import Machine, Setup
from lab.testing import needs_lab
from support.target import start_target

from iscsitools.control import Control

from .guest_load import EACH

IQN = "iqn.2026-11.example:disks"
LIMIT = 300.0
"""Seconds for a boot or a step: a few on an idle machine, and minutes on one that is not."""
SITE = """\
name = "kernel"
portals = ["127.0.0.1:0"]
[[target]]
iqn = "{iqn}"
auth = {{ method = "chap", users = [
    {{ name = "alice", secret = "correct-horse-battery" }},
    {{ name = "bob", secret = "battery-of-horses" }},
] }}
lun = [{{ store = "file:{folder}/disk,size=16M" }}, {{ store = "ram:8M" }}, {{ store = "ram:8M" }}]
"""


def free_port() -> int:
    """A port of 127.0.0.1, all that the guest reaches here; the portal that is there has 0, which means any."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Guest:
    """What is told to the guest, and what it says."""

    def __init__(self, machine: Machine, steps: Path) -> None:
        self._machine = machine
        self._steps = steps
        self._told = 0

    def does(self, *words: object) -> str:
        """Have it do a step; what it printed meanwhile."""
        before = len(self._machine.output)
        self._told += 1
        with open(self._steps, "a") as steps:
            steps.write(" ".join(map(str, words)) + "\n")
        self._machine.wait_for(f"did {self._told}", LIMIT)
        return self._machine.output[before:]

    def goes_on(self, *loads: str) -> None:
        """Wait until each load has done a few rounds more, all of them begun from now on."""
        for load in loads:
            said = [line.split() for line in self._machine.output.splitlines()]
            done = max((int(words[1]) for words in said if words[:1] == [load]), default=0)
            self._machine.wait_for(f"{load} {done + 2 * EACH}", LIMIT)

    @property
    def failed(self) -> list[str]:
        return [line for line in self._machine.output.splitlines() if line.startswith("FAILED")]


@pytest.mark.lab
def test_the_kernel_runs_through_an_apply_of_everything_and_a_takeover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = needs_lab()
    host = tmp_path / "host"
    host.mkdir()
    (host / "steps").touch()
    shutil.copy(Path(__file__).with_name("guest_load.py"), host)
    (tmp_path / "site.toml").write_text(SITE.format(iqn=IQN, folder=tmp_path))
    (tmp_path / "site.toml").chmod(0o600)
    setup = Setup(f"exec python3 /host/guest_load.py {IQN}", host)
    with (
        start_target(tmp_path, "--config", str(tmp_path / "site.toml"), portals=(), awaited=1) as first,
        Machine(setup, home) as machine,
    ):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(first.runtime))
        guest = Guest(machine, host / "steps")
        guest.does("log_in", first.addresses[0][1], "alice", "correct-horse-battery")
        guest.does("load", "first", 1, 0)
        guest.goes_on("first")
        guest.does("forget", 1, 2)
        with Control("kernel") as control:
            document = control.get().document
            luns = document["target"][0]["lun"]
            luns.append({"number": 9, "store": "ram:24M"})
            luns[0]["store"]["size"] = "32M"
            del luns[2]
            document["target"][0]["auth"]["users"][1]["secret"] = "horses-in-a-battery"
            added = free_port()
            document["portals"].append(f"127.0.0.1:{added}")
            applied = control.apply(document, in_use="force")
            assert len(applied.lines) == 5, applied.lines
        guest.does("rescan", 1, "0=32", "1=8", "9=24")
        guest.does("log_in", added, "bob", "horses-in-a-battery")
        guest.does("load", "second", 2, 9)
        guest.goes_on("first", "second")
        here = {"XDG_RUNTIME_DIR": str(first.runtime)}
        with start_target(tmp_path, "--takeover", "--name", "kernel", env=here, portals=(), awaited=2):
            assert first.process.wait(60) == 0
            guest.goes_on("first", "second")
            said = guest.does("end")
            assert guest.failed == []
            assert said.splitlines()[-3:-1] == ["lost connections 2", "errors"], said
