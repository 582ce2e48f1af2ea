"""Random commands to servers with one thread and with two get the same answers; both data paths."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.native import needs_data_path

from .threads_differential import run_round

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


@pytest.mark.parametrize("seed", [1, 2])
def test_no_difference(tmp_path: Path, seed: int) -> None:
    needs_data_path()
    assert run_round(seed, tmp_path) > 10  # steps after which a data thread had a connection
