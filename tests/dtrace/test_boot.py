"""What is tried again of a run in the lab, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from .boot import boot

# Fails in the first run as it is told to; a second run finds nothing of the first.
PROGRAM = """#!/bin/sh
echo "$3" >> {calls}
[ "$(wc -l < {calls})" -gt 1 ] && {{ [ ! -e {out} ]; exit; }}
mkdir {out}
echo "{console}"
exit 124
"""


@pytest.mark.parametrize(
    ("console", "status", "runs"),
    [("[  285.282953] Oops: int3: 0000 [#1]", 0, 2), ("[  285.282953] Oops: 0002 [#1]", 124, 1), ("", 124, 1)],
)
def test_only_the_emulation_s_own_fault_is_tried_again(tmp_path: Path, console: str, status: int, runs: int) -> None:
    lab, calls, out = tmp_path / "lab", tmp_path / "calls", tmp_path / "out"
    lab.write_text(PROGRAM.format(calls=calls, out=out, console=console))
    lab.chmod(0o755)
    found, said = boot(lab, tmp_path, tmp_path / "script", 1000)
    assert found == status
    assert (console in said) is (runs == 1)
    limits = [int(line) for line in calls.read_text().split()]
    assert len(limits) == runs
    assert all(limit <= 1000 for limit in limits)
