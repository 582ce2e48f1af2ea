"""docs/scsi.md names every command, page and mode page that is there, and by what test each command is shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsitools.scsi.commands import DISK
from iscsitools.scsi.spc.log_pages import PAGES as LOG_PAGES
from iscsitools.scsi.spc.mode_pages import PAGES as MODE_PAGES
from iscsitools.scsi.spc.vpd import PAGES as VPD_PAGES

COMMANDS = {command.name for command in (*DISK.thin, *DISK.atomic, *DISK.encrypted)}


def rows(project: Path) -> Iterator[tuple[set[str], str, list[str]]]:
    """Of each row of the table of commands: their names, what it says of them, and the tests that it names."""
    text = (project / "docs" / "scsi.md").read_text()
    table = text.partition("## Commands")[2].partition("\n\nOne command")[0]
    for line in table.splitlines():
        if line.startswith("| ") and not line.startswith(("| command", "| ---")):
            _, names, supported, remarks, shown, _ = re.split(r" ?\| ?", line)
            yield set(names.split(", ")), f"{supported} {remarks}", re.findall(r"`(\w+\.py::\w+)`", shown)


def commands_of(names: set[str], remarks: str) -> set[str]:
    """The commands of a row; one whose service actions have rows of the table of commands has them in its remarks."""
    return {
        name
        for name in COMMANDS
        if name in names or (name.partition(", ")[0] in names and name.partition(", ")[2] in remarks)
    }


def test_all_is_documented(project: Path) -> None:
    text = (project / "docs" / "scsi.md").read_text()
    documented = [command for names, remarks, _ in rows(project) for command in commands_of(names, remarks)]
    assert sorted(documented) == sorted(COMMANDS), "each command has one row"
    codes = {f"| {code:02X}h " for code in VPD_PAGES} | {
        f"| {code.page:02X}h/{code.subpage:02X}h " if code.subpage else f"| {code.page:02X}h " for code in MODE_PAGES
    }
    assert {code for code in codes if code not in text} == set()
    logs = text.partition("## Log pages")[2].partition("\n## ")[0]
    assert {code for code in LOG_PAGES if f"{code:02X}h" not in logs} == set()


@pytest.fixture(scope="module")
def sent(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the tests that the table names have sent; they are run for it, and have to pass."""
    tests = sorted({f"tests/scsi/{test}" for _, _, shown in rows(project) for test in shown})
    found = tmp_path_factory.mktemp("sent") / "sent.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "scsi.sent", "-p", "no:cacheprovider", *tests],
        cwd=project, env=os.environ | {"SENT": str(found), "PYTHONPATH": str(project / "tests")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    answer: dict[str, list[str]] = json.loads(found.read_text())
    return answer


def test_each_command_is_sent_by_a_test_of_its_row(project: Path, sent: dict[str, list[str]]) -> None:
    missing = {}
    for names, remarks, shown in rows(project):
        lacking = commands_of(names, remarks) - {name for test in shown for name in sent[test]}
        if lacking:
            missing[", ".join(sorted(names))] = lacking
    assert missing == {}
