"""Mixed commands by the thousand; ``python tests/truth/many.py`` does a million of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.native import needs_data_path

from iscsitools.probes.table import PROVIDER_PROBES

from . import many, paths


@pytest.fixture(params=paths.BOTH)
def data_path(request: pytest.FixtureRequest) -> str:
    return paths.chosen(request)


def test_every_event_of_many_commands_agrees(tmp_path: Path, data_path: str) -> None:
    fired, _ = many.run(tmp_path, 600, data_path, seed=7)
    assert set(fired) >= set(PROVIDER_PROBES)


def test_every_event_of_many_commands_agrees_whoever_serves(tmp_path: Path) -> None:
    needs_data_path()
    fired, by_ring = many.run(tmp_path, 3000, "native", seed=7, threads=2)
    assert set(fired) >= set(PROVIDER_PROBES)
    assert sum(by_ring) == sum(fired.values())
    assert min(by_ring) > 0


def test_a_field_that_differs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = many.FIELDS["iscsi.expcmdsn"]
    monkeypatch.setitem(many.FIELDS, "iscsi.expcmdsn", lambda event: read(event) ^ (read(event) == 99))
    with pytest.raises(AssertionError, match="expcmdsn"):
        many.run(tmp_path, 600, "python", seed=7)
