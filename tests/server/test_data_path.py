"""Which data path serves, and what is said of the slower one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.native import needs_data_path

from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.server import data_path


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As where there was no compiler; the file that says why it was not built."""
    find, missing = importlib.util.find_spec, tmp_path / "_native.missing"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.endswith("._native") else find(name))
    monkeypatch.setattr(data_path, "_MISSING", missing)
    return missing


@pytest.mark.parametrize("reason", ["command 'cc' failed", None])
def test_without_a_compiler_one_line_says_what_it_costs(not_built: Path, reason: str | None) -> None:
    if reason:
        not_built.write_text(f"{reason}\n")
    chosen, line = data_path.choose("auto")
    assert chosen is DataPath
    assert line.startswith(f"the data path in C was not built: {reason or 'that needs a C compiler'}")
    assert "half as much processor time again, and ten times as much" in line
    assert "\n" not in line


def test_who_wants_the_one_in_c_gets_no_other(not_built: Path) -> None:
    with pytest.raises(data_path.NoNativeError, match="was not built"):
        data_path.choose("native")


def test_of_what_is_as_wished_nothing_is_said() -> None:
    assert data_path.choose("python") == (DataPath, "")
    assert data_path.choose("auto") == data_path.choose("native") == (needs_data_path(), "")
