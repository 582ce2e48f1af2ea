"""The identity of a disk in a file: an extended attribute of the file, so that it goes where the disk goes.

Beside it stands where it was given, file system and inode. A copy that took the attributes along (``cp -a``, ``rsync
-X``) lies elsewhere, is found out by that, and gets an identity of its own. What copies a whole file system with its
UUID, a snapshot or an image, cannot be found out.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from dataclasses import dataclass
from typing import Final

from iscsitools.backstores.places import file_system_name, machine_id

_log = logging.getLogger(__name__)

ATTRIBUTE: Final = "user.iscsitools.identity"
_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the attribute says: an identity, and where it was given."""

    identity: str
    file_system: str
    inode: int

    def text(self) -> str:
        return f"{_VERSION} {self.identity} {self.file_system} {self.inode}"

    @classmethod
    def parse(cls, raw: bytes) -> _Stored | None:
        """None where it is none of ours, or of a version to come."""
        parts = raw.decode("ascii", "replace").split(" ")
        if len(parts) != 4 or parts[0] != _VERSION or not parts[3].isdecimal():
            return None
        return cls(parts[1], parts[2], int(parts[3]))

    def is_at(self, file_system: str, inode: int) -> bool:
        """Whether it was given there; a file system that now goes by another kind of name may be the same."""
        same_kind = self.file_system.partition(":")[0] == file_system.partition(":")[0]
        return self.inode == inode and (not same_kind or self.file_system == file_system)


def file_identity(fd: int, path: str, writable: bool) -> str:
    """The identity of the disk in an open file, which is locked; given to it now if it has none and is ``writable``."""
    file_system, inode = file_system_name(fd), os.fstat(fd).st_ino
    stored = _read(fd)
    if stored is not None and stored.is_at(file_system, inode):
        return stored.identity
    if stored is not None:
        _log.warning(
            "%s is a copy of another disk, whose identity came along with its attributes: it has a new one", path
        )
    if writable:
        given = _Stored(str(uuid.uuid4()), file_system, inode)
        if _write(fd, given, path):
            return given.identity
    if stored is not None:
        return _name("copy", stored.identity, file_system, str(inode))
    return path_identity(path)


def path_identity(path: str, more: str = "") -> str:
    """An identity for what cannot keep one: of the machine, the real path, and what else tells it apart."""
    return _name("path", machine_id(), os.path.realpath(path), more)


def _name(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _read(fd: int) -> _Stored | None:
    if not hasattr(os, "getxattr"):
        return None
    try:
        return _Stored.parse(os.getxattr(fd, ATTRIBUTE))
    except OSError:
        return None


def _write(fd: int, given: _Stored, path: str) -> bool:
    """Store the identity durably; False and a line in the log where that cannot be done."""
    reason = "this system has no extended attributes"
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(fd, ATTRIBUTE, given.text().encode("ascii"))
            os.fsync(fd)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return True
    _log.warning(
        "%s: its identity cannot be stored with it (%s), so serial number and NAA designator are made of its path and "
        "this machine's id: moved, it is another disk; serial= fixes it",
        path, reason,
    )  # fmt: skip
    return False
