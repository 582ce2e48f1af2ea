"""Overlays of the ``cow`` filter as files: what is in one, whether it is sound, its end in the base or in nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from iscsitools.backstores.base import Allocation, BackstoreError, MediumError
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters.live_map import live_path, remove_live
from iscsitools.backstores.filters.overlay_map import GRANULE, OverlayMap, read_header

_PIECE: Final = 1 << 20
Progress = Callable[[int], object]
"""Told of every piece that was worked on, in bytes."""


@dataclass(frozen=True, slots=True)
class OverlayInfo:
    """``size``: the disk's, in bytes; ``held``: bytes that the overlay holds; ``allocated``: bytes of its file system.

    ``unflushed``: a server that was killed, or still serves, left changes that no flush has made durable. ``problems``:
    what is wrong with it, as far as its length and its map tell, each in one line.
    """

    size: int
    held: int
    allocated: int
    unflushed: bool
    problems: tuple[str, ...] = ()


def map_path(path: str) -> str:
    """Where the map of an overlay is."""
    return f"{path}.map"


def overlay_info(path: str) -> OverlayInfo:
    """What an overlay holds now, in use or not; raises BackstoreError where it is none."""
    bits = _read_map(path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise BackstoreError(f"{path}: {error.strerror}") from None
    held = min(bits.held * GRANULE, bits.size)
    problems = tuple(_problems(path, status.st_size, bits))
    return OverlayInfo(bits.size, held, status.st_blocks * 512, bits.recovered, problems)


def _problems(path: str, length: int, bits: OverlayMap) -> list[str]:
    """What is wrong with an overlay's file of this length, or with its map."""
    found = []
    if length != bits.size:
        found.append(f"{path} has {length} bytes, and its map is for {bits.size}")
    if bits.held > -(-bits.size // GRANULE):
        found.append(f"{map_path(path)} has bits beyond the end of the disk")
    return found


def _read_map(path: str) -> OverlayMap:
    """The bits of an overlay's map, which is closed again."""
    name = map_path(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size, _ = read_header(fd, name)
        finally:
            os.close(fd)
        bits = OverlayMap(size)
        bits.attach(name, read_only=True)
    except OSError as error:
        raise BackstoreError(f"{name}: {error.strerror}; {path} is no overlay of the cow filter") from None
    bits.close()
    return bits


class Overlay:
    """An overlay that nobody serves: its file is locked from ``__enter__`` to ``__exit__``."""

    def __init__(self, path: str, writable: bool) -> None:
        self.path = path
        self._file = FileBackstore(path)
        self._file.read_only = not writable
        self._bits = OverlayMap(0)

    def __enter__(self) -> Overlay:
        self._bits = _read_map(self.path)
        self._file.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def held(self) -> int:
        """Bytes that are worked on by ``commit``."""
        return sum(length for _, length in self._ranges())

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """What the overlay holds, as offset and length in bytes, in pieces."""
        size = self._bits.size
        for first, count, present in self._bits.runs(0, -(-size // GRANULE)):
            offset, end = first * GRANULE, min((first + count) * GRANULE, size)
            while present and offset < end:
                length = min(_PIECE, end - offset)
                yield offset, length
                offset += length

    def problems(self, base: FileBackstore | None = None) -> list[str]:
        """What is wrong with it, each in one line; ``base``: opened, to be compared with."""
        found = _problems(self.path, self._file.size, self._bits)
        if base is not None and base.size != self._bits.size:
            found.append(f"{base.path} has {base.size} bytes, and the map is for {self._bits.size}")
        return found

    def check(self, progress: Progress) -> list[str]:
        """Read everything that the overlay holds; returns what is wrong, each in one line."""
        found = self.problems()
        buffer = memoryview(bytearray(_PIECE))
        for offset, length in self._ranges():
            try:
                self._file.read_into(offset, buffer[:length])
            except (OSError, MediumError) as error:
                found.append(f"{self.path}: bytes {offset} to {offset + length}: {error}")
            progress(length)
        return found

    def commit(self, base: FileBackstore, progress: Progress) -> None:
        """Write what the overlay holds into its base, durably, and empty it. Done again after an end half-way, too."""
        problems = self.problems(base)
        if problems:
            raise BackstoreError(problems[0])
        buffer = memoryview(bytearray(_PIECE))
        for offset, length in self._ranges():
            for extent in self._file.extents(offset, length):
                if extent.state is Allocation.HOLE:
                    base.discard(extent.offset, extent.length)
                    continue
                part = buffer[: extent.length]
                self._file.read_into(extent.offset, part)
                base.write(extent.offset, part)
            progress(length)
        base.flush()
        self.discard()

    def discard(self) -> None:
        """Forget all changes: the base is read again. The new map is durable before any data goes."""
        remove_live(live_path(map_path(self.path)))
        fresh = OverlayMap(self._bits.size)
        fresh.create(map_path(self.path))
        fresh.close()
        self._file.discard(0, self._file.size)
        self._file.flush()
