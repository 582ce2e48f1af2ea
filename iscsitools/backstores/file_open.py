"""Opening a backing file: what is checked, what is made, and the line for the user when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import stat
from typing import Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.backstores.devices import Backing, Device, Sysfs
from iscsitools.backstores.file_identity import file_identity, path_identity
from iscsitools.backstores.syscalls import is_block_device, sync_directory

_log = logging.getLogger(__name__)

_MODE: Final = 0o600  # a disk's contents are nobody else's business

_MOST_APART: Final = 4  # of all descriptors that the process may have, disks take so small a part for their threads


class OpenFile:
    """A file or device that is open, locked, as large as was asked for, and known by its identity."""

    __slots__ = ("_behind", "_path", "device", "fd", "own_identity")

    def __init__(self, path: str, size: int, read_only: bool, direct: bool) -> None:
        """Open ``path``; with ``size``, make it or grow it to that. Raises BackstoreError, and nothing stays open."""
        self._path = path
        self._behind = -1
        self.fd = open_file(path, size, read_only, direct)
        self.device: Device | None = None
        self.own_identity = ""
        try:
            take_lock(self.fd, path, shared=read_only)
            if is_block_device(os.fstat(self.fd).st_mode):
                self.device = Device(self.fd)
                self._claim(self.device, read_only)
            self._fit_size(size, read_only)
            self.own_identity = self._find_identity(read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; this ends the locks."""
        if self._behind >= 0:
            os.close(self._behind)
        if os.fstat(self.fd).st_nlink == 0:
            _log.error("%s has been deleted while it was served: all that it held is gone now", self._path)
        os.close(self.fd)

    def _claim(self, device: Device, read_only: bool) -> None:
        if device.read_only and not read_only:
            raise BackstoreError(f"{self._path} is set read-only (blockdev --setro); readonly=yes only reads it")
        backing = Sysfs.of(self.fd).backing()
        if backing is not None:
            self._behind = lock_backing(self._path, backing, shared=read_only)

    def _fit_size(self, wanted: int, read_only: bool) -> None:
        # Files of /proc have no length to seek to.
        size = os.fstat(self.fd).st_size if self.device is None else os.lseek(self.fd, 0, os.SEEK_END)
        if wanted and wanted != size:
            if wanted < size:
                raise BackstoreError(
                    f"{self._path} has {size} bytes already, more than size={wanted}; nothing was cut off"
                )
            if self.device is not None or read_only:
                raise BackstoreError(f"{self._path} has {size} bytes, not size={wanted}, and cannot be grown here")
            os.ftruncate(self.fd, wanted)
        elif not size:
            raise BackstoreError(f"{self._path} is empty; add size=SIZE to give it a size")

    def _find_identity(self, read_only: bool) -> str:
        if self.device is None:
            return file_identity(self.fd, self._path, writable=not read_only)
        sysfs = Sysfs.of(self.fd)
        backing = sysfs.backing()
        if backing is not None and self._behind >= 0:
            found = file_identity(self._behind, backing.path, writable=False)
            return f"{found}/{backing.more}" if backing.more else found
        found = sysfs.identity()
        if not found:
            _log.warning(
                "%s has no name of its own (WWID, UUID or serial number), so serial number and NAA designator are made "
                "of its path and this machine's id; serial= fixes them",
                self._path,
            )  # fmt: skip
        return found or path_identity(self._path)


def open_file(path: str, size: int, read_only: bool, direct: bool) -> int:
    """Open ``path``; with ``size``, make it when it is missing. Returns the descriptor; raises BackstoreError."""
    flags = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    if direct:
        flags |= _direct_flag(path)
    if problem := obstacle(path):
        raise BackstoreError(problem)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _make_file(path, size, read_only, flags)
    if stat.S_ISBLK(status.st_mode):
        if not read_only:
            flags |= os.O_EXCL  # Linux: fails while the device is mounted or part of another one
    elif not stat.S_ISREG(status.st_mode):
        raise BackstoreError(f"{path} is neither a file nor a block device")
    return _open(path, flags)


def open_apart(fd: int, count: int) -> list[int]:
    """Open the file of ``fd`` up to ``count`` times more, to read; less where they are few or it is refused."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found: list[int] = []
    for _ in range(count):
        try:
            found.append(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            break
        if found[-1] >= soft // _MOST_APART:
            os.close(found.pop())
            break
    return found


def take_lock(fd: int, path: str, shared: bool) -> None:
    """Lock the file against writers (``shared``) or against everybody; raises BackstoreError when another has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = "" if shared else "; disks that are all readonly=yes can share it"
        raise BackstoreError(f"{path} is in use by another server, or by another LUN of this one{hint}") from None
    except OSError as error:
        raise BackstoreError(f"{path} cannot be locked: {error.strerror}") from None


def _direct_flag(path: str) -> int:
    flag: int = getattr(os, "O_DIRECT", 0)
    if not flag:
        raise BackstoreError(f"{path}: this system has no O_DIRECT; leave direct=yes out")
    return flag


def lock_backing(device: str, backing: Backing, shared: bool) -> int:
    """Lock the file behind a loop device as that file itself would be; -1 where it is out of reach.

    Two loop devices over one file, or one and the file, are one disk twice, and would tear each other's blocks.
    """
    if backing.deleted:
        _log.warning(
            "%s: the file behind it, %s, has been deleted: its data ends with the device", device, backing.path
        )
        return -1
    try:
        fd = os.open(backing.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        _log.warning("%s: the file behind it, %s, cannot be locked: %s", device, backing.path, error.strerror)
        return -1
    try:
        take_lock(fd, f"{backing.path}, the file behind {device},", shared)
    except BaseException:
        os.close(fd)
        raise
    return fd


def obstacle(path: str) -> str:
    """What keeps a file from being opened or made at ``path``, in a line; empty: it is there, or could be made."""
    try:
        os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"{path} is a symbolic link to {os.path.realpath(path)}, which does not exist"
    except OSError as error:
        return f"{path}: {_reason(error)}"
    return ""


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its symbolic links go round in a circle"
    return error.strerror or str(error)


def _make_file(path: str, size: int, read_only: bool, flags: int) -> int:
    if read_only or not size:
        only_read = ", and a file that is only read (readonly=yes, or under cow) is not made"
        hint = only_read if read_only else "; add size=SIZE to have it made"
        raise BackstoreError(f"{path} does not exist{hint}")
    fd = _open(path, flags | os.O_CREAT | os.O_EXCL)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
        sync_directory(path)
    except OSError as error:
        os.close(fd)
        os.unlink(path)
        raise BackstoreError(f"{path} cannot be made with {size} bytes: {error.strerror}") from None
    return fd


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, _MODE)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) and flags & os.O_RDWR:
            raise BackstoreError(f"{path} cannot be written: {error.strerror}; readonly=yes only reads it") from None
        if error.errno == errno.EBUSY:
            raise BackstoreError(f"{path} is mounted, or in use by another device or server") from None
        if error.errno == errno.EINVAL and flags & getattr(os, "O_DIRECT", 0):
            raise BackstoreError(f"{path}: its file system has no O_DIRECT; leave direct=yes out") from None
        raise BackstoreError(f"{path}: {error.strerror}") from None
