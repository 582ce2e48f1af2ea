"""Mixed commands by the thousand; ``python tests/truth/many.py`` does a million of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsitools.probes.table import PROVIDER_PROBES

from . import many, paths


@pytest.fixture(params=paths.BOTH)
def data_path(request: pytest.FixtureRequest) -> str:
    return paths.chosen(request)


def test_every_event_of_many_commands_agrees(tmp_path: Path, data_path: str) -> None:
    fired = many.run(tmp_path, 600, data_path, seed=7)
    assert set(fired) >= set(PROVIDER_PROBES)


def test_a_field_that_differs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = many.FIELDS["iscsi.expcmdsn"]
    monkeypatch.setitem(many.FIELDS, "iscsi.expcmdsn", lambda event: read(event) ^ (read(event) == 99))
    with pytest.raises(AssertionError, match="expcmdsn"):
        many.run(tmp_path, 600, "python", seed=7)
