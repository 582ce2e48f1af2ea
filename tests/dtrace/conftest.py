"""The lab: a virtual machine with DTrace for Linux. One boot serves every test of this folder.

``ISCSITOOLS_LAB`` is the program that runs it (``lab chroot CMD ...``, ``lab run -t SECONDS -m FOLDER SCRIPT``);
without it ``../shared/dtrace-lab/lab`` beside the checkout is tried. ``DTRACE_LAB`` is where the lab keeps its machine.
``ISCSITOOLS_LAB_CYCLES``: how often a probe is enabled and disabled.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.tools import missing, needs

from .boot import boot

VENV = "/opt/iscsitools-venv"
SOURCE = "/opt/iscsitools-source"
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "provider", "dscripts", "iscsitools")
INSTALL = f"""
rm -rf {SOURCE} /usr/lib/*/dtrace/iscsitools.d
mkdir -p {SOURCE}
tar x -C {SOURCE}
[ -d {VENV} ] || python3 -m venv {VENV}
{VENV}/bin/pip uninstall -q -y iscsitools
{VENV}/bin/pip install -q '{SOURCE}[dtrace]'
"""
RUN = f"""
export XDG_RUNTIME_DIR=/run/iscsitools-test PYTHONPATH=/host/tests PYTHONUNBUFFERED=1
mkdir -p -m 700 $XDG_RUNTIME_DIR
cd /tmp
{VENV}/bin/python /host/tests/dtrace/hold.py > /tmp/hold.txt &
until grep -q held /tmp/hold.txt; do sleep 0.2; done
cat /tmp/hold.txt
sh /host/tests/dtrace/provider.sh {VENV}/bin/python /host/out/provider
{VENV}/bin/python /host/tests/dtrace/evidence.py /host/out $(cat /host/cycles)
"""
INSTALL_LIMIT = 600
RUN_LIMIT = 2400
"""Seconds. A guest that hangs has to end before the time for all tests does."""


def lab_program(project: Path) -> Path:
    """The lab's program, or the end of the test with what is missing."""
    needs("qemu-system-x86_64", "qemu-system-x86")
    given = os.environ.get("ISCSITOOLS_LAB")
    program = Path(given) if given else project.parent / "shared" / "dtrace-lab" / "lab"
    if not program.exists():
        missing(f"there is no lab at {program} (ISCSITOOLS_LAB names its program)")
    return program


def lab_home() -> Path:
    """Where the lab keeps its machine."""
    home = Path(os.environ.get("DTRACE_LAB", "/var/tmp/dtrace-lab"))
    if not (home / "root" / "lab-init").exists():
        missing(f"the lab is not built in {home}: LAB build")
    return home


@pytest.fixture(scope="session")
def evidence(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the project in the guest, run everything there, and return the folder of what was written."""
    lab, home = lab_program(project), lab_home()
    shared = tmp_path_factory.mktemp("shared")
    for part in ("dtrace",):
        shutil.copytree(project / "tests" / part, shared / "tests" / part)
    (shared / "cycles").write_text(os.environ.get("ISCSITOOLS_LAB_CYCLES", "100"))
    script = shared / "script.sh"
    script.write_text(RUN)
    with open(home / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(lab, project, shared / "source.tar")
        status, console = boot(lab, shared, script, RUN_LIMIT)
    if status:
        steps = shared / "out" / "steps.txt"
        began = steps.read_text() if steps.exists() else "none\n"
        print(console)
        pytest.fail(f"status {status} (124: no end in {RUN_LIMIT} s); the steps that began:\n{began}", False)
    return shared / "out"


def install(lab: Path, project: Path, archive: Path) -> None:
    """Install the project and python-usdt in the guest's virtual environment."""
    with tarfile.open(archive, "w", dereference=True) as tar:
        for part in PARTS:
            tar.add(project / part, part, filter=_source)
    with open(archive, "rb") as contents:
        subprocess.run([lab, "chroot", "sh", "-euc", INSTALL], stdin=contents, check=True, timeout=INSTALL_LIMIT)


def _source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what was built here."""
    return None if member.name.endswith((".so", "__pycache__", ".pyc")) else member
