"""The bits of an overlay that no flush has made durable yet, for a server that is killed: ``FILE.map.live``.

The system keeps a killed process's writes, so what the page cache has is as good as what memory had. After a power
failure it is not: any part of it may have reached the disk, in any order. So the file names the boot that it belongs
to and counts in that boot only; it is never synced, and nobody waits for it.

The file: a header of 4096 bytes (magic, version, granule size, disk size, the map's id, the boot's id), then the bits
as in :class:`iscsitools.backstores.filters.overlay_map.OverlayMap`.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Final

from iscsitools.backstores import places
from iscsitools.backstores.syscalls import read_fully, write_fully

_PAGE: Final = 4096
_HEADER: Final = struct.Struct("<8sIIQ16s40s")
_MAGIC: Final = b"iscsilve"
_VERSION: Final = 1


def live_path(map_path: str) -> str:
    """Where the live bits of a map are."""
    return f"{map_path}.live"


def _header(granule: int, size: int, ident: bytes) -> bytes:
    """The header as this boot writes it; empty where the system's boots have no names."""
    boot = places.boot_id()
    if not boot:
        return b""
    return _HEADER.pack(_MAGIC, _VERSION, granule, size, ident, boot.encode("ascii")[:40]).ljust(_PAGE, b"\0")


def read_live(map_path: str, granule: int, size: int, ident: bytes, length: int) -> bytes | None:
    """The bits that a server of this boot has left behind; None: there are none, or they are of another boot or map."""
    expected = _header(granule, size, ident)
    try:
        fd = os.open(live_path(map_path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = bytearray(_PAGE + length)
        complete = read_fully(fd, 0, memoryview(found)) == len(found)
    finally:
        os.close(fd)
    return bytes(found[_PAGE:]) if complete and expected and found[:_PAGE] == expected else None


class LiveMap:
    """The file, while the overlay is served."""

    __slots__ = ("_fd", "_path")

    def __init__(self, map_path: str, granule: int, size: int, ident: bytes, bits: memoryview) -> None:
        """Make the file with ``bits``; it is there whole or as it was before."""
        self._path = live_path(map_path)
        self._fd = -1
        header = _header(granule, size, ident)
        if not header:
            return
        temporary = f"{self._path}.new"
        self._fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(self._fd, _PAGE + len(bits))
            write_fully(self._fd, 0, memoryview(header))
            for start in range(0, len(bits), _PAGE):
                page = bits[start : start + _PAGE]
                if any(page):
                    write_fully(self._fd, _PAGE + start, page)
            os.rename(temporary, self._path)
        except BaseException:
            self.close(keep=True)
            raise

    def set(self, start: int, content: bytes) -> None:
        """Bytes of the bits, from ``start`` on, are this now."""
        if self._fd >= 0:
            write_fully(self._fd, _PAGE + start, memoryview(content))

    def close(self, keep: bool) -> None:
        """Close; the file goes unless bits are in it that are nowhere else."""
        if self._fd >= 0:
            os.close(self._fd)
            if not keep:
                remove_live(self._path)
        self._fd = -1


def remove_live(path: str) -> None:
    """Remove the file ``path`` if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
