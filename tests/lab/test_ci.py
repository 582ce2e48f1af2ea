"""``.ci/lab``: whether there is a lab to test in, said so that a run without one is noticed and goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# Succeeds at the build of this number.
PROGRAM = """#!/bin/sh
echo "$1" >> {calls}
if [ "$(wc -l < {calls})" -lt {good} ]; then
    echo "E: Failed to fetch linux-image"
    exit 1
fi
"""


class Checkout:
    """A checkout with a lab's program that fails as a test wants it to."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.program = folder / "tests" / "lab" / "lab"
        self.program.parent.mkdir(parents=True)
        shutil.copytree(project / ".ci", folder / ".ci")

    def make(self, text: str) -> None:
        self.program.write_text(text)
        self.program.chmod(0o755)

    def make_failing(self, good: int) -> None:
        self.make(PROGRAM.format(calls=self.calls, good=good))

    def ask(self, **more: str) -> tuple[int, list[str]]:
        command = [self.folder / ".ci" / "lab"]
        done = subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    def built(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def checkout(tmp_path: Path, project: Path) -> Checkout:
    return Checkout(tmp_path, project)


def test_a_lab_that_is_there_is_silent(checkout: Checkout) -> None:
    checkout.make_failing(good=1)
    assert checkout.ask() == (0, [])
    assert checkout.built() == ["build"]


def test_a_build_that_fails_is_tried_again(checkout: Checkout) -> None:
    checkout.make_failing(good=2)
    status, said = checkout.ask()
    assert status == 0
    assert said[-1] == "E: Failed to fetch linux-image"
    assert not any("LAB NOT BUILT" in line for line in said)
    assert checkout.built() == ["build"] * 2


def test_one_that_fails_twice_is_given_up_with_its_reason(checkout: Checkout) -> None:
    checkout.make_failing(good=99)
    status, said = checkout.ask()
    assert status == 1
    at = next(number for number, line in enumerate(said) if line.startswith("LAB NOT BUILT"))
    assert said[at + 1 :] == ["E: Failed to fetch linux-image"]
    assert checkout.built() == ["build"] * 2


def test_a_build_without_an_end_is_ended(checkout: Checkout) -> None:
    checkout.make("#!/bin/sh\nexec sleep 600\n")
    status, said = checkout.ask(ISCSITOOLS_LAB_BUILD="0.2")
    assert status == 1
    assert said[-1] == "no end within 0.2 s"


def test_it_can_be_switched_off(checkout: Checkout) -> None:
    checkout.make_failing(good=1)
    assert checkout.ask(ISCSITOOLS_CI_LAB="0") == (1, ["LAB NOT RUN: ISCSITOOLS_CI_LAB=0"])
    assert checkout.built() == []


@pytest.mark.parametrize(("fresh", "tests"), [(0, 7), (4, 7), (4, 0), (0, 0)])
@pytest.mark.parametrize("status", [0, 1])
def test_the_run_leaves_the_lab_s_tests_out_only_without_a_lab(
    checkout: Checkout, tmp_path: Path, status: int, fresh: int, tests: int
) -> None:
    """The last lines of .ci/run: the packages are another matter. A fresh Debian that fails fails behind the tests."""
    text = (checkout.folder / ".ci" / "run").read_text()
    lines = text[text.index("marks=\n") :]
    answer, make = checkout.folder / ".ci" / "lab", tmp_path / "bin" / "make"
    make.parent.mkdir()
    answer.write_text(f"#!/bin/sh\nexit {status}\n")
    (checkout.folder / ".ci" / "fresh").write_text(f"#!/bin/sh\nexit {4 if fresh else 0}\n")
    make.write_text(f'#!/bin/sh\necho "$ISCSITOOLS_REQUIRE_TOOLS $@"\nexit {tests}\n')
    make.chmod(0o755)
    names = os.environ | {"PATH": f"{make.parent}:{os.environ['PATH']}"}
    script = ["bash", "-euo", "pipefail", "-c", lines]
    done = subprocess.run(script, env=names, cwd=checkout.folder, capture_output=True, text=True, check=False)
    always = "1 test ARGS=--durations=20 --ignore=plugins/iscsitools-rbd/tests/test_multipath.py"
    then = "" if tests else "1 twins ARGS=--seconds 90 --first 4294967295\n"  # of no sources at all
    assert done.stdout == (f"{always} \n", f'{always} -m "not lab"\n')[status] + then
    assert done.returncode == (tests or fresh)


def _said_by_fresh(checkout: Checkout, names: dict[str, str]) -> str:
    command = [checkout.folder / ".ci" / "fresh"]
    return subprocess.run(command, env=names, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def fresh_says(checkout: Checkout, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Programs that end as a test wants them to, and the environment in which .ci/fresh finds them."""

    def write(**codes: int) -> dict[str, str]:
        own = checkout.folder / ".venv" / "bin" / "python"
        for program in (tmp_path / "bin" / name for name in ("python3", "unshare", "id", "make")):
            program.parent.mkdir(exist_ok=True)
            said = "0" if program.name == "id" else '"$@"'
            wanted = f"*packages.py*) exit {codes.get('packages', 0)};;" if program.name == "python3" else ""
            end = codes.get(program.name, 0)
            program.write_text(f'#!/bin/sh\necho {said}\ncase "$1" in {wanted} esac\nexit {end}\n')
            program.chmod(0o755)
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(f'#!/bin/sh\necho "$@"\nexit {codes.get("arm64", 0)}\n')
        own.chmod(0o755)
        return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "ISCSITOOLS_CI_FRESH": "trixie"}

    return write


@pytest.mark.parametrize(
    ("codes", "status", "said"),
    [
        ({}, 0, "tests/fresh/packages.py trixie"),
        ({"python3": 1}, 1, ""),
        ({"python3": 3}, 0, "FRESH NOT RUN: there is no root"),
        ({"make": 2}, 2, ""),
        ({"packages": 1}, 1, ""),
        ({"arm64": 1}, 1, "tests/fresh/arm64.py"),
        ({"arm64": 3}, 0, "FRESH NOT RUN: the wheel for aarch64 was not tried"),
    ],
)
def test_a_fresh_debian_that_cannot_be_made_is_no_failure(
    checkout: Checkout, fresh_says: Callable[..., dict[str, str]], codes: dict[str, int], status: int, said: str
) -> None:
    names = fresh_says(**codes)
    assert "fresh.py trixie" in _said_by_fresh(checkout, names)
    command = [checkout.folder / ".ci" / "fresh"]
    done = subprocess.run(command, env=names, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stdout
    del names["ISCSITOOLS_CI_FRESH"]
    assert "fresh.py bookworm" in _said_by_fresh(checkout, names)
    assert "fresh.py" not in _said_by_fresh(checkout, names | {"ISCSITOOLS_CI_FRESH": ""})
