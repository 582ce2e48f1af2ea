"""The short form of ``multipath.py``: dm-multipath of the lab's guest, and each fault once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ha import no_namespace
from lab.testing import needs_lab
from multipath import KINDS


@pytest.mark.ceph
@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_head_killed_stopped_and_cut_off_behind_multipath_loses_nothing(ceph_installed: None) -> None:
    needs_lab()
    if reason := no_namespace():
        if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    program = str(Path(__file__).with_name("multipath.py"))
    done = subprocess.run([sys.executable, program, "0"], capture_output=True, text=True, check=False)
    told = re.findall(
        r"^ +\d (\w+) +no write answered for +[\d.]+ s, head (\d) active, reservation kept$", done.stdout, re.MULTILINE
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert told == list(zip(KINDS, "2121", strict=True))
    assert "wrong: 0" in done.stdout
