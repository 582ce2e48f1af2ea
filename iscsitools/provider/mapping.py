"""The form in which DTrace for Linux takes a provider: DOF and tracepoints in one mapping of a named file.

It places uprobes, so a tracepoint has to be in a file that has a name, mapped privately and executable, with its code
in the file before it is mapped (a uprobe copies the instruction from the file). Its is-enabled probes write 1 through
the first argument of ``int f(int *enabled)``, and exist only in DOF of version 3: in older DOF it ignores them, because
those came from code that looks at the result instead.

The file is locked while its process lives, and removed at exit; one that a killed process left behind is no longer
locked, and the next start removes it.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterator
from ctypes import c_int, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Final

from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.provider.dof import Dof
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.libusdt import Tracepoint

DOF_VERSION: Final = 3
PREFIX: Final = "iscsitools-probes-"
_MORE_FOLDERS: Final = ("/var/tmp", "/dev/shm")
_SIZE: Final = 4 * mmap.PAGESIZE
_CODE_AT: Final = 3 * mmap.PAGESIZE  # the DOF takes about 3 KB
_STEP: Final = 32
# libusdt says for Linux that the traps are 10 and 16 bytes into a probe's code; both functions are nop, ret.
_ENABLED_AT: Final = 10
_PROBE_AT: Final = 16
_FUNCTION: Final = b"\x90\xc3"
_MAP_FIXED: Final = 0x10


def places() -> tuple[str, ...]:
    """The folders that are tried, in this order. A system need not have one for temporary files that can be written."""
    try:
        return (tempfile.gettempdir(), *_MORE_FOLDERS)
    except FileNotFoundError:
        return _MORE_FOLDERS


def folders() -> Iterator[Path]:
    """Where such a file may be: folders for temporary files from which code may be mapped."""
    seen = set()
    for name in places():
        folder = Path(name).resolve()
        if folder in seen or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            continue
        seen.add(folder)
        if not os.statvfs(folder).f_flag & os.ST_NOEXEC:
            yield folder


def clean() -> list[Path]:
    """Remove the files of this user that killed processes left behind, and say which."""
    removed = []
    for folder in folders():
        for path in folder.glob(f"{PREFIX}*"):
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


class Mapping:
    """The mapped file: an address range that is reserved first, because the DOF names addresses within it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = c_void_p
        self._libc.mmap.argtypes = (c_void_p, c_size_t, c_int, c_int, c_int, c_long)
        self._libc.munmap.argtypes = (c_void_p, c_size_t)
        self._fd = -1
        self.path: Path | None = None
        self.address = self._map(None, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
        self.points = (Tracepoint * len(PROVIDER_PROBES))()
        for number, point in enumerate(self.points):
            code = self.address + _CODE_AT + number * _STEP
            point.isenabled_addr = code  # where the DOF says that the probe begins; the trap is _ENABLED_AT further on
            point.probe_addr = code + _PROBE_AT

    def functions(self) -> bytes:
        """Pairs of addresses to call, is-enabled function and tracepoint, as the native module takes them."""
        pairs = ((p.isenabled_addr + _ENABLED_AT, p.probe_addr) for p in self.points)
        return b"".join(address.to_bytes(8, "little") for pair in pairs for address in pair)

    def fill(self, dof: Dof) -> None:
        """Write the file and map it over the reserved range, with the DOF at its beginning."""
        image = dof.image()
        if len(image) > _CODE_AT:
            raise ProviderError("the DOF is larger than the room for it")
        contents = bytearray(_SIZE)
        contents[: len(image)] = image
        for number in range(len(PROVIDER_PROBES)):
            for place in (_ENABLED_AT, _PROBE_AT):
                at = _CODE_AT + number * _STEP + place
                contents[at : at + len(_FUNCTION)] = _FUNCTION
        folder = next(folders(), None)
        if folder is None:
            raise ProviderError(f"no folder to map code from: tried {', '.join(places())}")
        self._create(folder)
        os.pwrite(self._fd, contents, 0)
        kind = mmap.MAP_PRIVATE | _MAP_FIXED
        self._map(self.address, mmap.PROT_READ | mmap.PROT_EXEC, kind, self._fd)

    def _create(self, folder: Path) -> None:
        """Create and lock the file; once more when another start took it for a forgotten one before it was locked."""
        while True:
            self._fd, name = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            if os.fstat(self._fd).st_nlink:
                self.path = Path(name)
                return
            os.close(self._fd)

    def close(self) -> None:
        """Unmap and remove the file."""
        self._libc.munmap(self.address, _SIZE)
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        if self._fd >= 0:
            os.close(self._fd)

    def _map(self, address: int | None, protection: int, flags: int, fd: int) -> int:
        got = self._libc.mmap(address, _SIZE, protection, flags, fd, 0)
        if got is None or got == ctypes.c_void_p(-1).value:
            raise ProviderError(f"mmap: {os.strerror(ctypes.get_errno())}")
        return int(got)
