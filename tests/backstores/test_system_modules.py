"""Modules that a distribution packages are found from a virtual environment, and nothing else that lies beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from iscsitools.backstores.system_modules import import_system_module
from iscsitools.backstores.terms import BackstoreError


def imported(folder: Path, name: str, *parts: str) -> object:
    try:
        return import_system_module(name, *parts, package=f"python3-{name}", folders=[str(folder)])
    finally:
        for module in (name, *parts):
            sys.modules.pop(module, None)


def test_one_that_lies_there_is_imported_with_its_parts(tmp_path: Path) -> None:
    (tmp_path / "sysmod_a.py").write_text("import sysmod_b\nVALUE = sysmod_b.VALUE\n")
    (tmp_path / "sysmod_b.py").write_text("VALUE = 7\n")
    assert imported(tmp_path, "sysmod_a", "sysmod_b").VALUE == 7  # type: ignore[attr-defined]


def test_what_was_not_asked_for_is_not_found_there(tmp_path: Path) -> None:
    (tmp_path / "sysmod_a.py").write_text("import sysmod_c\n")
    (tmp_path / "sysmod_c.py").write_text("")
    with pytest.raises(BackstoreError, match="sysmod_a is missing"):
        imported(tmp_path, "sysmod_a")
    assert not [finder for finder in sys.meta_path if "FromFolders" in type(finder).__name__]


def test_a_missing_one_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BackstoreError) as refused:
        imported(tmp_path, "sysmod_a")
    assert str(refused.value) == (
        "the module sysmod_a is missing: install the distribution's package python3-sysmod_a "
        "(apt install python3-sysmod_a)"
    )


def test_one_of_another_python_says_of_which(tmp_path: Path) -> None:
    (tmp_path / "sysmod_a.cpython-39-x86_64-linux-gnu.so").write_bytes(b"")
    with pytest.raises(BackstoreError) as refused:
        imported(tmp_path, "sysmod_a")
    assert "is for Python 3.9, and this is 3." in str(refused.value)
    assert str(refused.value).endswith("as python3.9 -m venv")


def test_one_that_is_broken_says_why(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    (tmp_path / f"sysmod_a.cpython-{version}-x86_64-linux-gnu.so").write_bytes(b"no shared object")
    with pytest.raises(BackstoreError, match="of python3-sysmod_a cannot be loaded: "):
        imported(tmp_path, "sysmod_a")
