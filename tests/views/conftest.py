from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running
