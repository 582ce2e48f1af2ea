"""A disk of the guest that loses, at a power cut, what was not flushed: as real disks with a write cache do."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.home import LabError

_START: Final = 10.0
"""Seconds for nbdkit to listen."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that the guest sees as ``/dev/disk/by-id/virtio-NAME``; its contents outlive the machine in ``file``.

    ``name``: up to 20 letters, its serial number.
    """

    name: str
    file: Path

    @classmethod
    def create(cls, name: str, file: Path, size: int) -> Disk:
        """A disk of ``size`` bytes of zeros, in a sparse file; one that exists is emptied."""
        with open(file, "wb") as made:
            made.truncate(size)
        return cls(name, file)


class Cache:
    """What stands between the guest and a disk's file: writes stay here until a flush, or FUA, puts them there.

    nbdkit's cache filter. The guest is told of a write cache. QEMU's own caching would be no model: what a guest wrote
    is with the host's kernel, which keeps it when QEMU is killed.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self.disk = disk
        self.socket = folder / f"{disk.name}.sock"
        command = ["nbdkit", "--foreground", "--exit-with-parent", "--unix", str(self.socket)]
        command += ["--filter=cache", "file", str(disk.file), "cache=writeback"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + _START
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise LabError(f"nbdkit does not serve {disk.file}")
            time.sleep(0.02)

    @property
    def arguments(self) -> list[str]:
        """QEMU's options for it."""
        name = self.disk.name
        drive = f"file=nbd:unix:{self.socket},format=raw,if=none,id=disk-{name},cache=none"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive=disk-{name},serial={name}"]

    def end(self) -> None:
        """End as a disk that is switched off in peace, after QEMU, which flushes at its own end."""
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """Lose what was not flushed. Before QEMU ends, or with it."""
        self._process.kill()
        self._process.wait()


def check_names(disks: tuple[Disk, ...]) -> None:
    """LabError for disks that cannot be told apart, or are not there."""
    names = [disk.name for disk in disks]
    for disk in disks:
        if names.count(disk.name) > 1 or disk.name.startswith("lab-") or not 0 < len(disk.name) <= 20:
            raise LabError(f"{disk.name!r} is no name for a disk: up to 20 letters, each disk its own, not lab-...")
        if not os.access(disk.file, os.R_OK | os.W_OK):
            raise LabError(f"{disk.file} is not a file that can be written")
