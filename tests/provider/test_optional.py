"""The native parts are optional, in the set-up of the tests too."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

from support.tools import needs


def test_the_set_up_goes_on_without_what_needs_a_compiler(project: Path, tmp_path: Path) -> None:
    """python-usdt comes as sources in C: were it asked for with the others, pip would install none of them."""
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (libusdt,) = extras["dtrace"]
    assert not any(each.startswith("usdt") for each in extras["test"])
    command = [needs("make", "make"), "--dry-run", "--no-print-directory", "venv", f"VENV={tmp_path}"]
    steps = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=60).stdout
    (step,) = (s for s in steps.replace("\\\n", "").splitlines() if libusdt in s)
    assert f"pip install --quiet --disable-pip-version-check '{libusdt}' >{tmp_path}/libusdt.log 2>&1 || " in step
