"""The data threads' benchmark without sockets runs, and serves every form."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.native import needs_data_path

from .programs import needs_compiler, run_program


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned as Linux does it")
def test_each_form_is_served_by_one_and_by_two(tmp_path: Path) -> None:
    needs_data_path()
    needs_compiler()
    options = ("--rounds", "1", "--seconds", "0.01", "--mib", "4", "--folder", str(tmp_path))
    done = run_program("lanes.py", *options, "--json", str(tmp_path / "found"))
    lines = json.loads((tmp_path / "found").read_text())
    assert len(lines) == 7, done
    assert all(line["one"] > 0 and line["by_cpu"] > 0 for line in lines)
