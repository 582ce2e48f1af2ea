"""One version everywhere, and a dated heading for it in the changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from iscsitools import __version__

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = [PROJECT / "pyproject.toml", *sorted(PROJECT.glob("plugins/*/pyproject.toml"))]
HEADING = re.compile(r"^## (\S+)(?: \((\d{4}-\d\d-\d\d)\))?$", re.MULTILINE)


def test_the_changelog_begins_with_this_version() -> None:
    headings = HEADING.findall((PROJECT / "CHANGELOG.md").read_text())
    assert len(headings) == len(re.findall(r"^## ", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE))
    released = headings[1:] if headings[0] == ("Next", "") else headings
    assert released[0][0] == __version__
    dates = [date for _, date in released]
    assert all(dates)
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("file", PACKAGES, ids=lambda file: file.parent.name)
def test_packages_have_this_version(file: Path) -> None:
    project = tomllib.loads(file.read_text())["project"]
    assert project["version"] == __version__
    own = [each for each in project["dependencies"] if each.startswith("iscsitools>")]
    major_minor = __version__.rpartition(".")[0]
    assert all(each == f"iscsitools>={major_minor}" for each in own)
