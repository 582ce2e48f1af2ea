"""Looks of top that are saved, and found again by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from iscsitools.cli.top import command
from iscsitools.trace.views.top.saved import Look, SavedError, save_look, saved_file, saved_looks


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_what_is_saved_is_found_again(home: Path) -> None:
    assert saved_looks() == {}
    look = Look("latency", "client", "WP", True, "P99.9", "disks")
    save_look("mine", look)
    save_look("other", Look())
    assert saved_looks() == {"mine": look, "other": Look()}
    assert saved_file() == home / "iscsitools" / "top.json"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not what top has written"),
        ('{"a": 1}', "is not what top has written"),
        ('{"a": {"view": "none"}}', "'none' is no view"),
        ('{"a": {"colour": "red"}}', "nothing called 'colour'"),
        ('{"a": {"reverse": 1}}', "reverse has to be true or false"),
        ('{"a": {"sort": ["x"]}}', "is no sort"),
    ],
)
def test_a_broken_file_is_one_line(home: Path, text: str, reason: str) -> None:
    saved_file().parent.mkdir()
    saved_file().write_text(text)
    with pytest.raises(SavedError, match=reason):
        saved_looks()


def test_a_view_by_name(home: Path) -> None:
    save_look("mine", Look("requests", filter="disks"))
    result = CliRunner().invoke(command, ["--batch", "--view", "nothing"], standalone_mode=False)
    assert str(result.exception) == "there is no view 'nothing'; there are load, latency, requests, phases, mine"


def test_the_file_is_plain_json(home: Path) -> None:
    save_look("mine", Look())
    assert set(json.loads(saved_file().read_text())["mine"]) == {
        "view",
        "group",
        "sort",
        "reverse",
        "percentile",
        "filter",
    }
