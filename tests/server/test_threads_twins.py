"""Random commands to servers with one thread and with two get the same answers; both data paths."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.native import needs_data_path

from .threads_differential import run_round

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


@pytest.mark.parametrize(("seed", "least"), [(1, 10), (2, 0)], ids=["ram", "file"])
def test_no_difference(tmp_path: Path, seed: int, least: int) -> None:
    """``least``: there are more steps than that after which a data thread had a connection.

    What waits for the disk takes a connection back to the loop, and how much does so is the page cache's affair.
    """
    needs_data_path()
    assert run_round(seed, tmp_path) > least
