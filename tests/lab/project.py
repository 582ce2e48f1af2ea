"""This checkout, installed for the guest's Python: an image that is mounted at /opt, kept until the sources change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from lab import chroot, image
from lab.home import PROJECT, Home, LabError, key, need, need_root

MOUNT: Final = "/opt"
BIN: Final = "/opt/iscsitools/bin"
"""Where the guest finds ``python`` and ``iscsitools``."""
PARTS: Final = (
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
    "provider",
    "datapath",
    "dscripts",
    "iscsitools",
)
_LIMIT: Final = 600
"""Seconds for pip."""
_BUILT: Final = (".so", "__pycache__", ".pyc")
_INSTALL: Final = rf"""
mkdir /tmp/source
tar x -C /tmp/source
[ -d /opt/iscsitools ] || python3 -m venv /opt/iscsitools
pip="{BIN}/pip install -q --disable-pip-version-check --root-user-action=ignore"
# python-usdt before the project, whose installation then makes libusdt of it.
$pip "$(sed -n 's/^dtrace = \["\(.*\)"\]/\1/p' /tmp/source/pyproject.toml)"
{BIN}/pip uninstall -q -y iscsitools
ISCSITOOLS_REQUIRE_NATIVE=1 $pip "/tmp/source[dtrace]"
"""


def installed(home: Home, project: Path = PROJECT) -> Path:
    """The image; it is made where there is none of these sources. LabError when it cannot be."""
    home.require()
    made = home.installed / f"{_digest(project)}.img"
    with home.used(exclusive=not made.exists()):
        if not made.exists():
            need_root("installing the project for the guest")
            need({"unshare": "util-linux", "mke2fs": "e2fsprogs"})
            _install(home, project, made)
        else:
            os.utime(made)
    return made


def _install(home: Home, project: Path, made: Path) -> None:
    """The dependencies stay where they are from one time to the next."""
    tree = home.installed / "tree"
    tree.mkdir(parents=True, exist_ok=True)
    for old in sorted(home.installed.glob("*.img"), key=lambda file: file.stat().st_mtime)[:-3]:
        old.unlink()
    with tempfile.TemporaryFile() as archive, tempfile.TemporaryFile() as log:
        _pack(project, archive)
        archive.seek(0)
        command = ["sh", "-euc", _INSTALL]
        try:
            status = chroot.enter(home.root, command, binds={MOUNT: tree}, stdin=archive, log=log, timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            status = -1
        if status:
            shutil.rmtree(tree)
            log.seek(0)
            said = log.read().decode(errors="replace")
            why = f"ended with status {status}" if status > 0 else f"did not end within {_LIMIT} s"
            raise LabError(f"installing the project for the guest {why}:\n{said}".rstrip())
    new = made.with_suffix(".new")
    image.make(tree, new)
    new.rename(made)


def _files(project: Path) -> Iterator[Path]:
    """In a fixed order; a link to a folder is one (the package has its scripts by such a link)."""
    for part in PARTS:
        path = project / part
        found = [path]
        if path.is_dir():
            found = sorted(Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
        yield from (file for file in found if not any(word in str(file.relative_to(project)) for word in _BUILT))


def _digest(project: Path) -> str:
    digest = hashlib.sha256(key().encode())
    for file in _files(project):
        digest.update(f"{file.relative_to(project)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:20]


def _pack(project: Path, archive: IO[bytes]) -> None:
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for file in _files(project):
            tar.add(file, file.relative_to(project))
