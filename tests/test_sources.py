"""A module in C that was built before its sources changed is told by what it was built of."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from support.native import needs_data_path, needs_native

from iscsitools.config import Config
from iscsitools.errors import RunError
from iscsitools.provider import backend
from iscsitools.provider.errors import ProviderError
from iscsitools.server import data_path
from iscsitools.sources import digest, outdated

OTHER = "0123456789abcdef"


def module(told: str) -> ModuleType:
    made = ModuleType("iscsitools.room._native")
    made.SOURCES = told  # type: ignore[attr-defined]
    return made


def room(root: Path) -> Path:
    folder = root / "room"
    folder.mkdir()
    (folder / "one.c").write_text("int one;\n")
    (folder / "one.h").write_text("extern int one;\n")
    (folder / "notes.txt").write_text("not compiled")
    return folder


def test_what_was_built_of_the_sources_beside_it_is_used_and_after_any_change_no_more(tmp_path: Path) -> None:
    folder = room(tmp_path)
    built = module(digest(folder))
    assert outdated(built, "room", tmp_path) == ""
    (folder / "notes.txt").write_text("still not")
    assert outdated(built, "room", tmp_path) == ""
    (folder / "one.h").write_text("extern long one;\n")
    assert outdated(built, "room", tmp_path) == (
        "iscsitools.room._native was built of other sources than room/ has now: install again (make venv)"
    )
    (folder / "one.h").rename(folder / "two.h")
    assert outdated(built, "room", tmp_path)


def test_a_module_that_tells_nothing_or_has_no_sources_beside_it_is_taken_as_it_is(tmp_path: Path) -> None:
    assert outdated(module(OTHER), "room", tmp_path) == ""
    room(tmp_path)
    assert outdated(module(""), "room", tmp_path) == outdated(ModuleType("early"), "room", tmp_path) == ""


def test_no_server_starts_with_an_old_data_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{needs_data_path().__module__}.SOURCES", OTHER)
    for choice in ("auto", "native"):
        with pytest.raises(RunError, match=r"^iscsitools\.datapath\._native was built of other sources"):
            data_path.data_path_of(Config(data_path=choice))
    assert data_path.choose("python")[1] == ""


def test_an_old_module_fires_no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_native(), "SOURCES", OTHER)
    with pytest.raises(ProviderError, match=r"^iscsitools\.provider\._native was built of other sources"):
        backend.native_module()
