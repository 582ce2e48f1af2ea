"""Boots the lab once, and once more where it was the emulation that ended it."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

EMULATION = "Oops: int3"
"""The guest's kernel patches its own code by way of this trap. QEMU's emulation of several processors lets one of them
run into it when the patch is over: seen once, in do_user_addr_fault. ``hold.py`` avoids the usual occasion."""


def boot(lab: Path, shared: Path, script: Path, limit: float) -> tuple[int, str]:
    """Run the script in the guest; returns its status (124: no end within ``limit`` seconds) and the console's text."""
    begun = time.monotonic()
    status, console = _run(lab, shared, script, limit)
    if status and EMULATION in console:
        print(f"{console}\nthe emulation failed ({EMULATION}): once more", flush=True)
        shutil.rmtree(shared / "out", ignore_errors=True)
        status, console = _run(lab, shared, script, limit - (time.monotonic() - begun))
    return status, console


def _run(lab: Path, shared: Path, script: Path, limit: float) -> tuple[int, str]:
    command = [lab, "run", "-t", str(max(1, int(limit))), "-m", str(shared), str(script)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace")
