"""The scripts in examples/ do what they say, against a running target."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import Session

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
IQN = "iqn.2026-11.example:disks"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    options = ("--iqn", IQN, "--lun", "0=ram:64M", "--lun", "300=null:1G,block_size=4096", "--provider", "none")
    with start_target(tmp_path_factory.mktemp("target"), *options, "--name", "examples") as running:
        yield running


def run(script: str, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def portal(target: RunningTarget) -> tuple[str, str]:
    host, port = target.addresses[0]
    return host, str(port)


def test_list_disks(target: RunningTarget) -> None:
    lines = f"{IQN} 0 64 MiB, 512-byte blocks\n{IQN} 300 1024 MiB, 4096-byte blocks\n"
    assert run("list_disks.py", *portal(target)) == (0, lines, "")


def test_check_portal(target: RunningTarget) -> None:
    status, output, errors = run("check_portal.py", *portal(target), IQN, "300")
    assert (status, errors) == (0, "")
    assert output.startswith(f"OK: {IQN} LUN 300: a block read in ")
    status, output, errors = run("check_portal.py", *portal(target), IQN + "x")
    assert (status, output, errors) == (2, f"CRITICAL: {IQN}x LUN 0: login status 0203: not found\n", "")


def test_who_writes(target: RunningTarget) -> None:
    command = [sys.executable, str(EXAMPLES / "who_writes.py"), "examples"]
    env = os.environ | {"XDG_RUNTIME_DIR": str(target.runtime)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Enter ends the measurement\n"
        with Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:writer") as session:
            session.read_capacity()
            for lba in range(0, 64, 8):
                session.write(lba, bytes(4096))
        output, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, output) == (0, "32 KiB iqn.2026-11.example:writer\n")


@pytest.mark.parametrize("script", ["list_disks.py", "check_portal.py", "who_writes.py"])
def test_what_fails_is_one_line(script: str) -> None:
    of_a_portal = ("127.0.0.1", "1")
    arguments = {"who_writes.py": ("nobody",), "list_disks.py": of_a_portal}.get(script, (*of_a_portal, IQN))
    status, output, errors = run(script, *arguments)
    assert status
    assert (output + errors).count("\n") == 1
    assert "Traceback" not in errors


def test_every_example_is_here() -> None:
    here = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in here] == []


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("list_disks.py", []), ("list_disks.py", ["127.0.0.1", "x"]), ("check_portal.py", ["127.0.0.1"]),
     ("who_writes.py", ["a", "b"])],
)  # fmt: skip
def test_wrong_arguments_get_the_usage(script: str, arguments: list[str]) -> None:
    status, output, errors = run(script, *arguments)
    assert (status, output) == (2, "")
    assert errors.startswith(f"usage: {script} ")
