"""Every test of this folder runs over both data paths: the one in Python and its twin in C."""

from __future__ import annotations

import pytest
from support.native import needs_data_path

from . import harness


@pytest.fixture(params=["python", "native"], autouse=True)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the data path that serves."""
    name: str = request.param
    if name == "native":
        monkeypatch.setattr(harness, "data_path", needs_data_path())
    return name
