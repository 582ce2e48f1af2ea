"""A server that a test changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server.harness import Running, one_target, running

from iscsitools.control import Control


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Running, Control]]:
    """A server of LUNs 0 and 1 and a control connection to it."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    text = one_target("ram:1M", f"file:{tmp_path / 'disk'}", more='name = "served"')
    with running(tmp_path, text) as server, Control("served") as control:
        yield server, control
