"""One boot of the lab (tests/lab) serves every test of this folder.

``ISCSITOOLS_LAB_CYCLES``: how often a probe is enabled and disabled; 100 where it is not set, 20 in CI.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from lab.machine import Setup, run
from lab.project import BIN
from lab.testing import needs_lab, project_images

RUN = f"""
rm -rf /host/out
export XDG_RUNTIME_DIR=/run/iscsitools-test PYTHONPATH=/host/tests PYTHONUNBUFFERED=1
mkdir -p -m 700 $XDG_RUNTIME_DIR
{BIN}/python -m dtrace.hold > /tmp/hold.txt &
until grep -q held /tmp/hold.txt; do sleep 0.2; done
cat /tmp/hold.txt
sh /host/tests/dtrace/provider.sh {BIN}/python /host/out/provider
{BIN}/python -m dtrace.steps /host/out $(cat /host/cycles)
"""
LIMIT = 2400
"""Seconds. A guest that hangs has to end before the time for all tests does."""


@pytest.fixture(scope="session")
def evidence(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the project in the guest, run everything there, and return the folder of what was written."""
    home = needs_lab()
    shared = tmp_path_factory.mktemp("shared")
    shutil.copytree(project / "tests" / "dtrace", shared / "tests" / "dtrace")
    (shared / "cycles").write_text(os.environ.get("ISCSITOOLS_LAB_CYCLES", "100"))
    result = run(Setup(RUN, host=shared, images=project_images(home)), LIMIT, home)
    if result.status:
        steps = shared / "out" / "steps.txt"
        began = steps.read_text() if steps.exists() else "none\n"
        print(result.output, result.console)
        pytest.fail(f"status {result.status} (124: no end in {LIMIT} s); the steps that began:\n{began}", False)
    return shared / "out"
