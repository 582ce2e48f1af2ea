"""Every test of this folder runs over both data paths, and over the one in C once more that receives and sends."""

from __future__ import annotations

import pytest
from support.native import needs_data_path

from . import harness
from .turning import TurningWire


@pytest.fixture(params=["python", "native", "turns"], autouse=True)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the data path that serves."""
    name: str = request.param
    if name != "python":
        monkeypatch.setattr(harness, "data_path", needs_data_path())
    if name == "turns":
        monkeypatch.setattr(harness, "wire", TurningWire)
    return name
