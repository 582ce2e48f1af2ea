"""docs/dtrace.md against the files of evidence, and the evidence's own parts that need no dtrace."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dtrace import agreement, checks, evidence, page


@pytest.fixture
def files() -> list[dict[str, Any]]:
    found = page.read()
    assert found
    return found


def test_the_page_s_table_is_made_of_the_files(files: list[dict[str, Any]]) -> None:
    text = page.PAGE.read_text()
    assert page.page(text, files) == text, "make docs"


def test_each_file_has_its_name_and_every_check_of_its_time(files: list[dict[str, Any]]) -> None:
    for found in files:
        assert (page.DOCS / "evidence" / evidence.file_name(found)).exists()
        assert {"every member of every event", "iscsiio.d"} <= {check["name"] for check in found["checks"]}


def test_what_did_not_agree_is_in_the_table(files: list[dict[str, Any]]) -> None:
    found = copy.deepcopy(files[0])
    assert f"| {len(found['checks'])} of {len(found['checks'])} |" in page.table([found])
    found["checks"][3] |= {"agreed": False, "compared": 0, "difference": "found 1, expected 2"}
    name, number = found["checks"][3]["name"], len(found["checks"])
    assert f"| {number - 1} of {number}, not: {name} |" in page.table([found])
    (line,) = [line for line in evidence.table(found).splitlines() if "DIFFERS" in line]
    assert line.split(maxsplit=2) == [name, "DIFFERS", "found 1, expected 2"]


def test_a_file_of_another_format_is_refused(files: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="evidence of format 2"):
        page.table([files[0] | {"format": 2}])


def test_same_says_what_differs() -> None:
    assert agreement.same({"a": 1, "b": 2}, {"a": 1, "b": 2}) == 2
    assert agreement.same(7, 7) == 1
    with pytest.raises(agreement.DisagreementError, match=r"^b: found 3, expected 2; c: found None, expected 4$"):
        agreement.same({"a": 1, "b": 3}, {"a": 1, "b": 2, "c": 4})
    with pytest.raises(agreement.DisagreementError, match=r"^1: found None, expected y$"):
        agreement.same(["x"], ["x", "y"])
    with pytest.raises(agreement.DisagreementError, match=r"3: found 3, expected None; and 2 more$"):
        agreement.same(list(range(6)), [0])
    with pytest.raises(agreement.DisagreementError, match="nothing to compare"):
        agreement.same({}, {})


def test_a_scene_that_cannot_be_read_agrees_with_nothing(tmp_path: Path) -> None:
    found = evidence.judge(tmp_path)
    assert [check.name for check in found] == list(checks.CHECKS)
    assert not any(check.agreed for check in found)
    assert all(check.difference for check in found)


# dtrace, as three systems print it.
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "dtrace ended with status 1 (it needs root on most systems)"),
        ("echo 'dtrace: no device' >&2; exit 1", "dtrace: no device (it needs root on most systems)"),
        (None, "there is no dtrace on this system"),
    ],
)
def test_a_dtrace_that_does_nothing_is_one_line(
    tmp_path: Path, project: Path, script: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script:
        program = tmp_path / "dtrace"
        program.write_text(f"#!/bin/sh\ncase $1 in -V) echo 'dtrace: D 2.0';; *) {script};; esac\n")
        program.chmod(0o755)
    words = [sys.executable, "-m", "dtrace.evidence", "--out", str(tmp_path / "out")]
    names = {"PATH": str(tmp_path), "PYTHONPATH": str(project / "tests"), "HOME": str(tmp_path)}
    done = subprocess.run(words, env=names, capture_output=True, text=True, check=False)
    first = done.stderr.splitlines()[0]
    assert first.startswith("evidence: ")
    assert first.endswith(said)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("dtrace: Sun D 1.13", "1.13"),
        ("dtrace: D 2.0\\nThis is DTrace 2.0.7\\ndtrace(1) version-control ID: x", "2.0.7"),
        ("odd", "odd"),
    ],
)
def test_dtrace_s_version(tmp_path: Path, printed: str, version: str) -> None:
    program = tmp_path / "dtrace"
    program.write_text(f"#!/bin/sh\nprintf '{printed}\\n'\n")
    program.chmod(0o755)
    assert evidence.dtrace_version(str(program)) == version


def test_the_file_s_name_is_that_of_its_system() -> None:
    found = {"system": {"name": "SunOS", "release": "5.11", "machine": "i86pc"}, "dtrace": "1.13"}
    assert evidence.file_name(json.loads(json.dumps(found))) == "sunos-5.11-i86pc-dtrace-1.13.json"
