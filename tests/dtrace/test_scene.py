"""One run in the lab under all D scripts at once: every event's every member, and every script's report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dtrace import agreement, checks, scene
from dtrace.evidence import judge

ALL_SCRIPTS = (*scene.SCRIPTS, *scene.OTHERS, "events", "kernel", "raw", "targetd")


@pytest.fixture(scope="module")
def out(evidence: Path) -> Path:
    return evidence / "scene"


@pytest.mark.slow
@pytest.mark.lab
@pytest.mark.parametrize("name", checks.CHECKS)
def test_all_that_looked_at_the_scene_agree(out: Path, name: str) -> None:
    assert checks.CHECKS[name](agreement.Scene(out)) > 0


@pytest.mark.slow
@pytest.mark.lab
@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_a_report_that_breaks_off_after_its_first_line_is_noticed(out: Path, tmp_path: Path, name: str) -> None:
    changed = tmp_path / "scene"
    shutil.copytree(out, changed)
    report = changed / f"{name}.txt"
    text = report.read_text()
    report.write_text(text.partition("\n")[0] + "\n")
    assert [check.name for check in judge(changed) if not check.agreed]


@pytest.mark.slow
@pytest.mark.lab
def test_the_evidence_says_so_in_a_table_and_in_a_file(evidence: Path) -> None:
    (file,) = evidence.glob("linux-*-dtrace-*.json")
    found = json.loads(file.read_text())
    assert [check["name"] for check in found["checks"] if check["agreed"]] == list(checks.CHECKS)
    assert found["events"] > 0
    printed = (evidence / "evidence.txt").read_text()
    assert printed.count(" agreed ") == len(checks.CHECKS)
    assert printed.endswith(f"/{file.name}\nstatus 0\n")
