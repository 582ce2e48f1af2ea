"""Which parts of a disk an overlay holds: one bit for each granule of 4096 bytes, in memory and perhaps in a file.

The file: a header of 4096 bytes (magic, version, granule size, disk size, an id), then the bits, the least significant
first.
Bits are only ever set, so that a page torn by a power failure is a mixture of bits that were all true.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator
from typing import Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.backstores.filters.live_map import LiveMap, read_live
from iscsitools.backstores.syscalls import read_fully, sync_data, sync_directory, write_fully

GRANULE: Final = 4096
_PAGE: Final = 4096
_HEADER: Final = struct.Struct("<8sIIQ16s")
_MAGIC: Final = b"iscsicow"
_VERSION: Final = 1


def read_header(fd: int, path: str) -> tuple[int, bytes]:
    """Read of a map's file the disk's size in bytes, and the map's id; raises BackstoreError when it is none."""
    header = bytearray(_PAGE)
    complete = read_fully(fd, 0, memoryview(header)) == _PAGE
    magic, version, granule, size, ident = _HEADER.unpack_from(header)
    if not complete or magic != _MAGIC or (version, granule) != (_VERSION, GRANULE):
        raise BackstoreError(f"{path} is no map of this version's cow filter")
    return size, ident


class OverlayMap:
    """The bits for a disk of ``size`` bytes. ``attach`` or ``create`` connects it to a file.

    With a file there are three places: memory, which is asked; the live file, which has every bit before ``add``
    returns and counts in this boot only; and the durable file, which has what ``store`` brought there.
    """

    __slots__ = ("_bits", "_dirty", "_fd", "_ident", "_live", "_size", "recovered")

    def __init__(self, size: int) -> None:
        self._size = size
        granules = -(-size // GRANULE)
        self._bits = bytearray(-(-granules // (8 * _PAGE)) * _PAGE)
        self._dirty: set[int] = set()
        self._fd = -1
        self._ident = b""
        self._live: LiveMap | None = None
        self.recovered = False
        """Bits were taken over from a server of this boot that was killed."""

    def create(self, path: str) -> None:
        """Make the file with no bit set; it is there whole or not at all."""
        temporary = f"{path}.new"
        self._ident = uuid.uuid4().bytes
        header = _HEADER.pack(_MAGIC, _VERSION, GRANULE, self._size, self._ident).ljust(_PAGE, b"\0")
        self._fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        write_fully(self._fd, 0, memoryview(header))
        os.ftruncate(self._fd, _PAGE + len(self._bits))
        os.fsync(self._fd)
        os.rename(temporary, path)
        sync_directory(path)
        self._live = LiveMap(path, GRANULE, self._size, self._ident, memoryview(self._bits))

    def attach(self, path: str, read_only: bool) -> None:
        """Read the bits from a file that ``create`` made; raises BackstoreError when it does not fit."""
        self._fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        size, self._ident = read_header(self._fd, path)
        if size != self._size:
            raise BackstoreError(f"{path} belongs to a base of {size} bytes; this one has {self._size}")
        if read_fully(self._fd, _PAGE, memoryview(self._bits)) != len(self._bits):
            raise BackstoreError(f"{path} is cut short")
        self._recover(path)
        if read_only:
            self._dirty = set()  # they stay where they are
        else:
            self._live = LiveMap(path, GRANULE, self._size, self._ident, memoryview(self._bits))

    def _recover(self, path: str) -> None:
        """Take over what a killed server of this boot had; its bits are still to be made durable."""
        live = read_live(path, GRANULE, self._size, self._ident, len(self._bits))
        for start in range(0, len(live or b""), _PAGE):
            assert live is not None
            page, durable = live[start : start + _PAGE], bytes(self._bits[start : start + _PAGE])
            if page != durable:
                both = int.from_bytes(page, "little") | int.from_bytes(durable, "little")
                self._bits[start : start + _PAGE] = both.to_bytes(_PAGE, "little")
                self._dirty.add(start // _PAGE)
        self.recovered = bool(self._dirty)

    def close(self) -> None:
        """Close the files."""
        if self._live is not None:
            self._live.close(keep=bool(self._dirty))
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._live = None

    def add(self, first: int, count: int) -> None:
        """Set the bits of ``count`` granules, whose bytes are in the overlay. Raises OSError, and then none is set."""
        start, end = first // 8, (first + count + 7) // 8
        mask = ((1 << count) - 1) << first % 8
        old = int.from_bytes(self._bits[start:end], "little")
        if old | mask != old:
            content = (old | mask).to_bytes(end - start, "little")
            if self._live is not None:
                self._live.set(start, content)
            self._bits[start:end] = content
            self._dirty.update(range(start // _PAGE, (end - 1) // _PAGE + 1))

    def bits(self) -> bytes:
        """All bits, of a map without a file."""
        return bytes(self._bits)

    def set_bits(self, bits: bytearray) -> None:
        """Have these instead, in a map without a file."""
        self._bits[:] = bits

    @property
    def size(self) -> int:
        """The disk's size in bytes."""
        return self._size

    @property
    def held(self) -> int:
        """How many granules the overlay holds."""
        pages = (self._bits[start : start + _PAGE] for start in range(0, len(self._bits), _PAGE))
        return sum(int.from_bytes(page, "little").bit_count() for page in pages)

    @property
    def changed(self) -> bool:
        """Whether bits were set that the durable file has not."""
        return bool(self._dirty)

    def runs(self, first: int, count: int) -> Iterator[tuple[int, int, bool]]:
        """Cut a range into runs of equal bits: first granule, number of them, whether their bits are set.

        A run ends at the end of a page of bits at the latest, for each step takes as long as the number is long.
        """
        while count > 0:
            piece = min(count, 8 * _PAGE - first % (8 * _PAGE))
            yield from self._runs(first, piece)
            first += piece
            count -= piece

    def _runs(self, first: int, count: int) -> Iterator[tuple[int, int, bool]]:
        rest = int.from_bytes(self._bits[first // 8 : (first + count + 7) // 8], "little") >> first % 8
        while count > 0:
            present = bool(rest & 1)
            other = ~rest if present else rest
            length = min(count, (other & -other).bit_length() - 1) if other else count
            yield first, length, present
            first += length
            count -= length
            rest >>= length

    def take_changes(self) -> dict[int, bytes]:
        """The pages that changed since the last call, as they are now."""
        pages = {page: bytes(self._bits[page * _PAGE : (page + 1) * _PAGE]) for page in self._dirty}
        self._dirty = set()
        return pages

    def give_back(self, pages: dict[int, bytes]) -> None:
        """Have ``pages`` among the next changes again: they could not be stored."""
        self._dirty.update(pages)

    def store(self, pages: dict[int, bytes]) -> None:
        """Bring pages to stable storage. A retry is honest: it writes them anew, from memory."""
        if self._fd < 0 or not pages:
            return
        for page, content in pages.items():
            write_fully(self._fd, _PAGE * (1 + page), memoryview(content))
        sync_data(self._fd)
