"""The ``cow`` filter: copy on write. What is written is kept apart; the base is opened for reading only.

The changes go to an overlay: memory, or with ``cow.file`` a sparse file as large as the base, with a file ``.map``
beside it that says which granules of 4096 bytes the overlay holds. What ``flush`` promises survives a power failure
because of an order: the overlay's data is made durable first, the map's bits after that, and only bits whose data was
written before. A failure in between loses what had not been flushed, and shows the base there, never something else.

A server that is killed loses nothing that it acknowledged: the bits are in the page cache too, in ``.map.live``, before
a write returns. That file counts only until the system boots anew.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

from iscsitools.backstores import values
from iscsitools.backstores.base import (
    Allocation,
    Backstore,
    BackstoreError,
    Capabilities,
    Extent,
    Filter,
    Option,
)
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters.overlay_map import GRANULE, OverlayMap
from iscsitools.backstores.ram import RamBackstore
from iscsitools.backstores.syscalls import read_fully, write_fully


class CowFilter(Filter):
    """``KIND+cow``: a disk that can be written over a base that is not.

    Writers take turns (a write to part of a granule copies the rest from the base); readers need no lock, since a
    granule's bit is set after its bytes are in the overlay.
    """

    kind = "cow"
    summary = "keeps changes apart from a base that stays as it is"
    options = (Option("file", values.path, "", "keep the changes in this file and its .map; without it, in memory"),)

    def __init__(self, inner: Backstore, file: str = "") -> None:
        super().__init__(inner)
        self._path = file
        if file:
            self.blocking = True
        self._overlay: Backstore = self
        self._map = OverlayMap(0)
        self._size = 0
        self._write_lock = threading.Lock()
        self._flush_lock = threading.Lock()

    def open(self) -> None:
        """Open the base for reading only, and open or make the overlay."""
        self.inner.block_size = self.block_size
        self.inner.read_only = True
        self.inner.open()
        try:
            self.block_size = self.inner.block_size
            if GRANULE % self.block_size:
                raise BackstoreError(f"cow: the block size has to divide {GRANULE}; {self.block_size} does not")
            self._size = self.inner.size
            self._map = OverlayMap(self._size)
            self._open_overlay()
        except BaseException as error:
            self._map.close()
            self.inner.close()
            if isinstance(error, OSError):
                raise BackstoreError(f"cow: {error.filename or self._path}: {error.strerror}") from error
            raise

    def _open_overlay(self) -> None:
        if not self._path:
            self._start(RamBackstore(str(self._size)))
            return
        path, map_path = self._path, f"{self._path}.map"
        is_new = not os.path.exists(path)
        if is_new and os.path.exists(map_path):
            raise BackstoreError(f"cow: {path} is missing, but its map {map_path} is there")
        overlay = self._start(FileBackstore(path, size=self._size if is_new else 0))
        try:
            if overlay.size != self._size:
                raise BackstoreError(f"cow: {path} has {overlay.size} bytes, the base {self._size}")
            if os.path.exists(map_path):
                self._map.attach(map_path, self.read_only)
            elif all(e.state is Allocation.HOLE for e in overlay.extents(0, self._size)):
                self._map.create(map_path)
            else:
                raise BackstoreError(f"cow: {path} holds data and has no map {map_path}: it is no overlay")
        except BaseException:
            overlay.close()
            raise

    def _start(self, overlay: Backstore) -> Backstore:
        overlay.block_size = self.block_size
        overlay.read_only = self.read_only
        overlay.open()
        self._overlay = overlay
        return overlay

    def close(self) -> None:
        """Close overlay, map and base."""
        self._overlay.close()
        self._map.close()
        self.inner.close()

    def keep(self) -> int:
        """Changes in memory: the overlay's bytes, and behind them the map. In a file they are kept anyway."""
        if self._path:
            return self.inner.keep()
        fd = self._overlay.keep()
        write_fully(fd, self._size, memoryview(self._map.bits()))
        return fd

    def restore(self, fd: int) -> None:
        """Take the changes back."""
        if self._path:
            self.inner.restore(fd)
            return
        self._overlay.restore(fd)
        bits = bytearray(len(self._map.bits()))
        read_fully(fd, self._size, memoryview(bits))
        self._map.set_bits(bits)

    @property
    def size(self) -> int:
        """The base's size when it was opened."""
        return self._size

    @property
    def own_identity(self) -> str:
        """The overlay's: a changed copy is another disk than its base, and than another copy. In memory it has none."""
        return self._overlay.own_identity if self._path else ""

    @property
    def allocated(self) -> int | None:
        """What the overlay takes."""
        return None if self._overlay is self else self._overlay.allocated

    @property
    def trouble(self) -> str:
        """The overlay's, to which all is written, or the base's."""
        return (self._overlay.trouble if self._overlay is not self else "") or self.inner.trouble

    @property
    def unflushed(self) -> bool:
        """Whether data or bits of the overlay may not be durable."""
        return self._map.changed or self._overlay.unflushed

    @property
    def capabilities(self) -> Capabilities:
        """Writable whatever the base is; a discarded range takes no space in the overlay."""
        inner, overlay = self.inner.capabilities, self._overlay.capabilities
        return Capabilities(
            read_only=self.read_only,
            volatile_cache=not self.read_only,
            thin=overlay.thin,
            rotational=inner.rotational,
            physical_block_size=inner.physical_block_size,
            optimal_io_size=inner.optimal_io_size,
        )

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read each run from where it is."""
        position = 0
        for store, start, length in self._runs(offset, len(buffer)):
            store.read_into(start, buffer[position : position + length])
            position += length

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        """Ask base or overlay, when all of the range is in one of them."""
        runs = tuple(self._runs(offset, len(buffer)))
        if len(runs) == 1:
            return runs[0][0].try_read_into(offset, buffer)
        return super().try_read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write to the overlay."""
        with self._write_lock:
            self._copy_edges(offset, len(buffer))
            self._overlay.write(offset, buffer)
            self._map.add(*_granules(offset, len(buffer)))

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Ask the overlay, when nothing has to be copied from the base and no other write is going on."""
        if not self._write_lock.acquire(blocking=False):
            return False
        try:
            if not self._edges_to_copy(offset, len(buffer)) and self._overlay.try_write(offset, buffer):
                self._map.add(*_granules(offset, len(buffer)))
                return True
        finally:
            self._write_lock.release()
        return super().try_write(offset, buffer)

    def discard(self, offset: int, length: int) -> None:
        """Cover the range with a hole in the overlay."""
        with self._write_lock:
            self._copy_edges(offset, length)
            self._overlay.discard(offset, length)
            self._map.add(*_granules(offset, length))

    def write_zeroes(self, offset: int, length: int) -> None:
        """Cover the range with zeros in the overlay."""
        with self._write_lock:
            self._copy_edges(offset, length)
            self._overlay.write_zeroes(offset, length)
            self._map.add(*_granules(offset, length))

    def flush(self) -> None:
        """Make the overlay's data durable, then the bits of what had been written before that began."""
        with self._flush_lock:
            with self._write_lock:
                pages = self._map.take_changes()
            try:
                self._overlay.flush()
                self._map.store(pages)
            except BaseException:
                with self._write_lock:
                    self._map.give_back(pages)
                raise

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The states of each run, from where it is."""
        for store, start, count in self._runs(offset, length):
            yield from store.extents(start, count)

    def resize(self, size: int) -> None:
        """Refuse: the size is the base's."""
        raise BackstoreError("a disk with cow keeps the size of its base")

    def _runs(self, offset: int, length: int) -> Iterator[tuple[Backstore, int, int]]:
        """Cut a range into runs that lie in one store: the store, offset and length in bytes."""
        end = offset + length
        for first, count, present in self._map.runs(*_granules(offset, length)):
            start = max(offset, first * GRANULE)
            stop = min(end, (first + count) * GRANULE)
            yield (self._overlay if present else self.inner), start, stop - start

    def _edges_to_copy(self, offset: int, length: int) -> set[int]:
        """The granules that a change covers in part and that only the base has yet."""
        end = min(offset + length, self._size)
        edges = {offset // GRANULE} if offset % GRANULE else set()
        if end % GRANULE and end != self._size:
            edges.add(end // GRANULE)
        return {granule for granule in edges if not next(self._map.runs(granule, 1))[2]}

    def _copy_edges(self, offset: int, length: int) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, "the disk is open for reading only")
        for granule in self._edges_to_copy(offset, length):
            start = granule * GRANULE
            content = memoryview(bytearray(min(GRANULE, self._size - start)))
            self.inner.read_into(start, content)
            self._overlay.write(start, content)
            self._map.add(granule, 1)


def _granules(offset: int, length: int) -> tuple[int, int]:
    """The first granule that a range touches, and how many it touches."""
    first = offset // GRANULE
    return first, (offset + length + GRANULE - 1) // GRANULE - first
