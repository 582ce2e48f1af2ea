"""One mapping of our own for the DOF and the tracepoints, each step of it checked. It is never writable and executable.

Its addresses are reserved first, because the DOF names addresses within it; then it is filled, once.

- On Linux it is a named file. DTrace places uprobes there, so a tracepoint has to be in a file that has a name, mapped
  privately and executable, with its code in the file before it is mapped (a uprobe copies the instruction from the
  file). The file is locked while its process lives, and removed at exit; one that a killed process left behind is no
  longer locked, and the next start removes it.
- Elsewhere it is memory without a file: written, then made read-only and executable.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import tempfile
from ctypes import c_int, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Final

from iscsitools.provider import places
from iscsitools.provider.errors import ProviderError

PREFIX: Final = "iscsitools-probes-"
PAGE: Final = mmap.PAGESIZE
_MAP_FIXED: Final = 0x10  # on every system that has a DTrace
_MAP_PRIVATE_ANONYMOUS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_PROT_NONE: Final = 0
_READ_EXECUTE: Final = mmap.PROT_READ | mmap.PROT_EXEC
_FAILED: Final = c_void_p(-1).value


class Memory:
    """Memory without a file, for systems whose DTrace patches any memory of a process.

    ProviderError, here and in :meth:`fill`, where the system refuses a step.
    """

    _RESERVED = mmap.PROT_READ | mmap.PROT_WRITE

    def __init__(self, size: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = c_void_p
        self._libc.mmap.argtypes = (c_void_p, c_size_t, c_int, c_int, c_int, c_long)
        self._libc.munmap.argtypes = (c_void_p, c_size_t)
        self._libc.mprotect.argtypes = (c_void_p, c_size_t, c_int)
        self.size = -(-size // PAGE) * PAGE
        self.address = self._map(None, self._RESERVED, _MAP_PRIVATE_ANONYMOUS, -1)

    def fill(self, contents: bytes) -> None:
        """Put ``contents`` at the beginning, and make all of it read-only and executable."""
        ctypes.memmove(self.address, contents, len(contents))
        if self._libc.mprotect(self.address, self.size, _READ_EXECUTE):
            reason = os.strerror(ctypes.get_errno())
            raise ProviderError(f"the tracepoints' memory may not be made executable: {reason}")

    def close(self) -> None:
        """Give the addresses back."""
        self._libc.munmap(self.address, self.size)

    def _map(self, address: int | None, protection: int, flags: int, fd: int) -> int:
        got = self._libc.mmap(address, self.size, protection, flags, fd, 0)
        if got is None or got == _FAILED:
            raise ProviderError(f"mmap: {os.strerror(ctypes.get_errno())}")
        return int(got)


class FileMemory(Memory):
    """Memory of a named file, for DTrace for Linux."""

    _RESERVED = _PROT_NONE

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._fd = -1
        self.path: Path | None = None

    def fill(self, contents: bytes) -> None:
        """Write a file and map it over the reserved range: in the first folder where every step of that works."""
        failures = []
        for folder in places.folders():
            try:
                self._create(folder)
                self._write(contents.ljust(self.size, b"\0"))
                self._map(self.address, _READ_EXECUTE, mmap.MAP_PRIVATE | _MAP_FIXED, self._fd)
                return
            except (OSError, ProviderError) as error:
                failures.append(f"{folder}: {error.strerror if isinstance(error, OSError) else error}")
                self._remove()
        raise ProviderError(f"no folder to map code from: {'; '.join(failures) or ', '.join(places.places())}")

    def close(self) -> None:
        """Unmap and remove the file."""
        super().close()
        self._remove()

    def _create(self, folder: Path) -> None:
        """Create and lock the file; once more when another start took it for a forgotten one before it was locked."""
        while True:
            self._fd, name = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            if os.fstat(self._fd).st_nlink:
                self.path = Path(name)
                return
            os.close(self._fd)

    def _write(self, contents: bytes) -> None:
        done = 0
        while done < len(contents):  # a disk that is nearly full takes a part first, then says why
            done += os.pwrite(self._fd, contents[done:], done)

    def _remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def clean() -> list[Path]:
    """Remove the files of this user that killed processes left behind, and say which."""
    removed = []
    for path in (path for folder in places.folders() for path in folder.glob(f"{PREFIX}*")):
        try:
            # Anybody may make one by this name, a pipe too: opening that would wait for somebody who writes.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or just removed
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                removed.append(path)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(fd)
    return removed
