"""What a block device says of itself, by ioctl(2) and sysfs; zeros and nothing where the system has no such thing."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from dataclasses import dataclass
from typing import Final

SYSFS: Final = "/sys/dev/block"
_BY_PARTUUID: Final = "/dev/disk/by-partuuid"
_BLKROGET: Final = 0x125E  # linux/fs.h
_BLKPBSZGET: Final = 0x127B
_BLKIOOPT: Final = 0x1279
_BLKROTATIONAL: Final = 0x127E


class Device:
    """An open block device."""

    __slots__ = ("_fd", "optimal_io_size", "physical_block_size", "rotational", "thin")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.physical_block_size = _ioctl(fd, _BLKPBSZGET, "I")
        self.optimal_io_size = _ioctl(fd, _BLKIOOPT, "I")
        self.rotational = bool(_ioctl(fd, _BLKROTATIONAL, "H"))
        limits = Sysfs.of(fd)
        self.thin = limits.number("discard_max_bytes") > 0 and limits.number("write_zeroes_max_bytes") > 0

    @property
    def read_only(self) -> bool:
        """Whether the kernel refuses writes now: ``blockdev --setro`` may be called at any time."""
        return bool(_ioctl(self._fd, _BLKROGET, "I"))


def _ioctl(fd: int, request: int, form: str) -> int:
    if sys.platform != "linux":
        return 0
    try:
        answer = fcntl.ioctl(fd, request, bytes(struct.calcsize(form)))
    except OSError:
        return 0
    value: int = struct.unpack(form, answer)[0]
    return value


@dataclass(frozen=True, slots=True)
class Backing:
    """The file behind a loop device. ``more`` tells apart what lies in one file: offset and partition."""

    path: str
    deleted: bool
    more: str


class Sysfs:
    """A block device's folder in sysfs."""

    __slots__ = ("_folder", "_number")

    def __init__(self, number: int, root: str = SYSFS) -> None:
        self._number = number
        self._folder = f"{root}/{os.major(number)}:{os.minor(number)}"

    @classmethod
    def of(cls, fd: int) -> Sysfs:
        """The folder of an open device."""
        return cls(os.fstat(fd).st_rdev)

    def text(self, name: str) -> str:
        """The content of a file in it; empty when it is not there."""
        try:
            with open(f"{self._folder}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                return file.read().strip()
        except OSError:
            return ""

    def number(self, limit: str) -> int:
        """A limit of the request queue; a partition's is its disk's."""
        found = self.text(f"queue/{limit}") or self.text(f"../queue/{limit}")
        return int(found) if found.isdecimal() else 0

    def backing(self) -> Backing | None:
        """The file behind it, when it is a loop device or a partition of one."""
        partition = self.text("partition")
        loop = "../loop" if partition else "loop"
        path = self.text(f"{loop}/backing_file")
        if not path:
            return None
        end = " (deleted)"
        limits = [self.text(f"{loop}/offset"), self.text(f"{loop}/sizelimit"), partition]
        more = "/".join(limits) if any(limit not in ("", "0") for limit in limits) else ""
        return Backing(path.removesuffix(end), path.endswith(end), more)

    def identity(self) -> str:
        """The name that the device has of itself, wherever it is plugged in; empty when it has none.

        A partition's UUID, device mapper's UUID, a world wide identifier, or a serial number.
        """
        partition = self.text("partition")
        if partition:
            own = self._partition_uuid()
            disk = "" if own else self._disk_identity("../")
            return f"partition:{own}" if own else f"{disk}/{partition}" if disk else ""
        return self._disk_identity("")

    def _disk_identity(self, folder: str) -> str:
        for name in ("dm/uuid", "wwid", "device/wwid", "md/uuid", "device/cid", "serial"):
            found = self.text(folder + name)
            if found:
                return f"{name}:{found}"
        return ""

    def _partition_uuid(self) -> str:
        for line in self.text("uevent").splitlines():
            if line.startswith("PARTUUID="):
                return line.partition("=")[2].lower()
        try:
            for entry in os.scandir(_BY_PARTUUID):
                if entry.stat().st_rdev == self._number:
                    return entry.name.lower()
        except OSError:
            pass
        return ""
