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

VENV = "/opt/iscsitools-venv"
SOURCE = "/opt/iscsitools-source"
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "provider", "dscripts", "iscsitools")
INSTALL = f"""
rm -rf {SOURCE}
mkdir -p {SOURCE}
tar x -C {SOURCE}
[ -d {VENV} ] || python3 -m venv {VENV}
{VENV}/bin/pip install -q usdt
{VENV}/bin/pip install -q {SOURCE}
{VENV}/bin/pip install -q --force-reinstall --no-deps {SOURCE}
"""
LIMIT = 3600


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
    for part in ("dtrace", "initiator"):
        shutil.copytree(project / "tests" / part, shared / "tests" / part)
    cycles = os.environ.get("ISCSITOOLS_LAB_CYCLES", "100")
    script = shared / "script.sh"
    script.write_text(
        f"sh /host/tests/dtrace/provider.sh {VENV}/bin/python /host/out/provider\n"
        f"sh /host/tests/dtrace/evidence.sh {VENV}/bin /host/out {cycles}\n"
    )
    with open(home / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(lab, project, shared / "source.tar")
        subprocess.run([lab, "run", "-t", str(LIMIT), "-m", str(shared), str(script)], check=True, timeout=LIMIT + 60)
    return shared / "out"


def install(lab: Path, project: Path, archive: Path) -> None:
    """Install the project and python-usdt in the guest's virtual environment."""
    with tarfile.open(archive, "w", dereference=True) as tar:
        for part in PARTS:
            tar.add(project / part, part, filter=_source)
    with open(archive, "rb") as contents:
        subprocess.run([lab, "chroot", "sh", "-euc", INSTALL], stdin=contents, check=True, timeout=LIMIT)


def _source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what was built here."""
    return None if member.name.endswith((".so", "__pycache__", ".pyc")) else member
