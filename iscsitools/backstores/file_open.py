"""Opening a backing file: what is checked, what is made, and the line for the user when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from typing import Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.backstores.devices import Backing
from iscsitools.backstores.syscalls import sync_directory

_log = logging.getLogger(__name__)

_MODE: Final = 0o600  # a disk's contents are nobody else's business


def open_file(path: str, size: int, read_only: bool, direct: bool) -> int:
    """Open ``path``; with ``size``, make it when it is missing. Returns the descriptor; raises BackstoreError."""
    flags = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    if direct:
        flags |= _direct_flag(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _make_file(path, size, read_only, flags)
    except OSError as error:
        raise BackstoreError(f"{path}: {_reason(error)}") from None
    if stat.S_ISBLK(status.st_mode):
        if not read_only:
            flags |= os.O_EXCL  # Linux: fails while the device is mounted or part of another one
    elif not stat.S_ISREG(status.st_mode):
        raise BackstoreError(f"{path} is neither a file nor a block device")
    return _open(path, flags)


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


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its symbolic links go round in a circle"
    return error.strerror or str(error)


def _make_file(path: str, size: int, read_only: bool, flags: int) -> int:
    if os.path.islink(path):
        raise BackstoreError(f"{path} is a symbolic link to {os.path.realpath(path)}, which does not exist")
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
