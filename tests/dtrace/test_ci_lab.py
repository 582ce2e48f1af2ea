"""``.ci/lab``: whether there is a lab to test in, said so that a run without one is noticed and goes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

# Succeeds at the build of this number; a build that fails leaves a part behind.
PROGRAM = """#!/bin/sh
echo "$1" >> {calls}
mkdir -p "$DTRACE_LAB/root"
if [ "$(wc -l < {calls})" -lt {good} ]; then
    echo "E: Failed to fetch linux-image"
    touch "$DTRACE_LAB/root/half"
    exit 100
fi
[ -e "$DTRACE_LAB/root/half" ] && exit 1
touch "$DTRACE_LAB/root/lab-init" "$DTRACE_LAB/initrd.gz"
"""


class Lab:
    """A lab's program that fails as a test wants it to, and ``.ci/lab`` beside it."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.script = project / ".ci" / "lab"
        self.home = folder / "home"
        self.calls = folder / "calls"
        self.program = folder / "lab"
        self.path = folder / "bin"
        self.path.mkdir()

    def make(self, good: int) -> None:
        self.program.write_text(PROGRAM.format(calls=self.calls, good=good))
        self.program.chmod(0o755)

    def ask(self, **more: str) -> tuple[int, list[str]]:
        names = {"PATH": f"{self.path}:{os.environ['PATH']}"}
        names |= {"ISCSITOOLS_LAB": str(self.program), "DTRACE_LAB": str(self.home)}
        done = subprocess.run([self.script], env=names | more, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    def built(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def lab(tmp_path: Path, project: Path) -> Lab:
    return Lab(tmp_path, project)


def test_it_is_built_once(lab: Lab) -> None:
    lab.make(good=1)
    qemu = lab.path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    assert lab.ask() == (0, [])
    assert lab.ask() == (0, [])
    assert lab.built() == ["build"]


def test_a_build_that_fails_is_tried_again_from_nothing(lab: Lab) -> None:
    lab.make(good=2)
    status, said = lab.ask()
    assert status == 0
    assert said[-1] == "E: Failed to fetch linux-image"
    assert not any("LAB NOT BUILT" in line for line in said)
    assert lab.built() == ["build"] * 2
    assert not (lab.home / "root" / "half").exists()


def test_one_that_fails_twice_is_given_up_with_its_reason(lab: Lab) -> None:
    lab.make(good=99)
    status, said = lab.ask()
    assert status == 1
    at = next(number for number, line in enumerate(said) if line.startswith("LAB NOT BUILT"))
    assert said[at + 1 :] == ["E: Failed to fetch linux-image"]
    assert lab.built() == ["build"] * 2
    assert not (lab.home / "root").exists()


def test_a_build_without_an_end_is_ended(lab: Lab) -> None:
    lab.program.write_text("#!/bin/sh\nexec sleep 600\n")
    lab.program.chmod(0o755)
    status, said = lab.ask(ISCSITOOLS_LAB_BUILD="0.2")
    assert status == 1
    assert said[-1] == "no end within 0.2 s"


def test_without_the_program_nothing_is_tried(lab: Lab) -> None:
    assert lab.ask() == (1, [f"LAB NOT BUILT: there is no program at {lab.program}"])


def test_it_can_be_switched_off(lab: Lab) -> None:
    lab.make(good=1)
    assert lab.ask(ISCSITOOLS_CI_LAB="0") == (1, ["LAB NOT RUN: ISCSITOOLS_CI_LAB=0"])
    assert lab.built() == []


@pytest.mark.parametrize("status", [0, 1])
def test_the_run_leaves_the_lab_s_tests_out_only_without_a_lab(
    lab: Lab, project: Path, tmp_path: Path, status: int
) -> None:
    """The last lines of .ci/run: the packages are another matter."""
    text = (project / ".ci" / "run").read_text()
    lines = text[text.index("export ISCSITOOLS_LAB=") :]
    (tmp_path / ".ci").mkdir()
    answer = tmp_path / ".ci" / "lab"
    make = lab.path / "make"
    answer.write_text(f"#!/bin/sh\nexit {status}\n")
    make.write_text('#!/bin/sh\necho "$ISCSITOOLS_REQUIRE_TOOLS $@"\nexit 7\n')
    for file in (answer, make):
        file.chmod(0o755)
    names = os.environ | {"PATH": f"{lab.path}:{os.environ['PATH']}"}
    script = ["bash", "-euo", "pipefail", "-c", lines]
    done = subprocess.run(script, env=names, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == ("1 test ARGS=\n", '1 test ARGS=-m "not lab"\n')[status]
    assert done.returncode == 7
