"""The shell that runs where no test looks on: in the guest, in CI, on a public forge."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tools import needs

from lab.home import PROJECT

SCRIPTS = (
    ".ci/lab", ".ci/run", "packaging/evidence/gather.sh", "tests/dtrace/in_lab.sh", "tests/lab/guest/boot.sh",
    "tests/lab/guest/go.sh", "tests/lab/guest/initrd.sh",
)  # fmt: skip
WORKFLOW = PROJECT / ".github" / "workflows" / "evidence.yml"


def check(text: str, shell: str) -> None:
    command = [needs("shellcheck", "shellcheck"), f"--shell={shell}", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_clean(name: str) -> None:
    text = (PROJECT / name).read_text()
    first = text.partition("\n")[0]
    check(text, "bash" if first.endswith("bash") else "dash" if first.endswith("busybox sh") else "sh")


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return found


def test_the_forge_s_workflow_tries_each_system_and_keeps_its_file(jobs: dict[str, Any]) -> None:
    assert set(jobs) == {"omnios", "freebsd", "macos"}
    for job in jobs.values():
        commands = [
            step["run"] for step in (*job["steps"], *(s.get("with", {}) for s in job["steps"])) if "run" in step
        ]
        assert [line for text in commands for line in text.splitlines() if "packaging/evidence/gather.sh" in line]
        for text in commands:
            check(text, "sh")
            for word in text.split():
                assert "/" not in word or "$" in word or Path(PROJECT, word).exists()
        last = job["steps"][-1]
        assert (last["with"]["path"], last["if"]) == ("build/evidence", "always()")
