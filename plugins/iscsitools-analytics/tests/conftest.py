from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside it, however pytest imports tests

from page_lab import Browser, Place, chromium


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A directory of its own in which servers and pages run; nobody else's server is seen from it."""
    place = Place(tmp_path)
    yield place
    place.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = Browser(chromium())
    yield found
    found.close()
