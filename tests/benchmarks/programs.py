"""The benchmarks' folder: its modules for import, its programs to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.tools import needs, needs_file

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the benchmarks to its end."""
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, timeout=300)


def needs_compiler() -> None:
    """End the running test where nothing can be compiled."""
    needs("cc", "gcc")
    needs_file("/usr/include/stdio.h", "libc6-dev")
