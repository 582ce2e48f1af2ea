"""Where the lab keeps its machine, and whether that is the machine that this checkout wants."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
MADE_OF: Final = ("recipe.py", "guest/initrd.sh")
"""The files, below this folder, that decide what a machine is."""


class LabError(Exception):
    """What the user has to know, in one line."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of the lab's machine."""

    folder: Path

    @classmethod
    def of_environment(cls) -> Home:
        """``DTRACE_LAB``, or a folder that outlives a restart."""
        return cls(Path(os.environ.get("DTRACE_LAB") or "/var/tmp/dtrace-lab").absolute())

    @property
    def machine(self) -> Path:
        """The machine's folder: ``root`` (a tree), ``root.img`` (the same as a disk), ``vmlinuz``, ``initrd``."""
        return self.folder / "machine"

    @property
    def root(self) -> Path:
        """The root file system as a tree, which only :mod:`lab.chroot` uses."""
        return self.machine / "root"

    @property
    def installed(self) -> Path:
        """Images with the project in them."""
        return self.folder / "installed"

    @property
    def is_built(self) -> bool:
        """Whether there is a whole machine, made by this checkout's recipe."""
        try:
            return (self.machine / "key").read_text() == key()
        except OSError:
            return False

    def require(self) -> None:
        """LabError when there is no such machine."""
        if not self.is_built:
            old = (self.machine / "key").exists()
            why = "was built by another recipe" if old else "is not built"
            raise LabError(f"the machine in {self.folder} {why}: make lab (or tests/lab/lab build)")

    @contextmanager
    def used(self, exclusive: bool = False) -> Iterator[None]:
        """Keep others from building the machine; ``exclusive``: from using it too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "a" if os.access(self.folder, os.W_OK) else "r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield


def key() -> str:
    """A digest of all that a machine is made of."""
    digest = hashlib.sha256()
    for name in MADE_OF:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def need(programs: Mapping[str, str]) -> None:
    """LabError with the Debian packages of the programs that are missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    absent = {program: package for program, package in programs.items() if shutil.which(program, path=path) is None}
    if absent:
        packages = " ".join(sorted(set(absent.values())))
        raise LabError(f"not installed: {', '.join(absent)} (apt-get install --no-install-recommends {packages})")


def need_root(what: str) -> None:
    """LabError for a user who is not root."""
    if os.geteuid():
        raise LabError(f"{what} needs root")
