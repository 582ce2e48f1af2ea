"""Random commands to servers with one thread and with two get the same answers; both data paths."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.native import needs_data_path

from .threads_differential import run_round

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


@pytest.mark.parametrize("seeds", [(1,), (3, 6), (2, 5)], ids=["ram", "file", "direct"])
def test_no_difference(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """Several rounds with files: some of what waits for the disk takes a connection back to the loop for a while."""
    needs_data_path()
    # Steps after which a data thread had a connection: without such ones nothing would have been compared.
    assert sum(run_round(seed, tmp_path) for seed in seeds) > 10
