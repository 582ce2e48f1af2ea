from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for serving, however pytest imports tests

from serving import Prometheus, Target, tool


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = Target(tmp_path)
    yield target
    target.stop()


@pytest.fixture
def prometheus(tmp_path: Path, target: Target) -> Iterator[Prometheus]:
    server = Prometheus(tool("prometheus"), tmp_path, target.metrics)
    yield server
    server.stop()
