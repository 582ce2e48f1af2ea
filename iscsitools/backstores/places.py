"""Where a file is: names of this machine and of a file system that stay the same from boot to boot."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from typing import Final

_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BY_UUID: Final = "/dev/disk/by-uuid"
_FS_IOC_GETFSUUID: Final = 0x80111500  # linux/fs.h: _IOR(0x15, 0, struct fsuuid2), Linux 6.9 and newer
_FSUUID2: Final = struct.Struct("=B16s")


def machine_id() -> str:
    """Return this machine's id (machine-id(5)), or its host's name where it has none."""
    for path in _MACHINE_IDS:
        try:
            with open(path, encoding="ascii") as file:
                found = file.read().strip()
        except (OSError, ValueError):
            continue
        if found:
            return found
    return socket.gethostname()


def file_system_name(fd: int) -> str:
    """A name of the file system that ``fd`` lies in: its UUID if it has one, else its number of statvfs(3)."""
    uuid = _uuid_by_ioctl(fd) or _uuid_by_link(os.fstat(fd).st_dev)
    return f"uuid:{uuid}" if uuid else f"fsid:{os.fstatvfs(fd).f_fsid:x}"


def _uuid_by_ioctl(fd: int) -> str:
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETFSUUID, bytes(_FSUUID2.size))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
            return ""
        raise
    length, uuid = _FSUUID2.unpack(answer)
    return uuid[:length].hex() if any(uuid[:length]) else ""


def _uuid_by_link(device: int) -> str:
    """Udev's link to the block device that the file system is on."""
    try:
        for entry in os.scandir(_BY_UUID):
            if entry.stat().st_rdev == device:
                return entry.name.replace("-", "").lower()
    except OSError:
        pass
    return ""


def boot_id() -> str:
    """A name of this boot of the system, which no other boot has; empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
