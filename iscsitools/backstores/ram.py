"""The ``ram`` backstore: a disk in memory that takes memory only where something was written."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from array import array
from collections.abc import Iterator
from typing import Final

from iscsitools.backstores.base import Allocation, Backstore, Capabilities, Extent, MediumError, Shortcut
from iscsitools.backstores.holes import file_extents
from iscsitools.backstores.null import fill_zeros, size_of_what
from iscsitools.backstores.shortcut import SIZE, Alone
from iscsitools.backstores.syscalls import memory_file, read_fully, write_fully

_CHUNK: Final = 1 << 20
_MOST_PLACES: Final = 1 << 20
"""Chunks whose addresses the data path in C can look up: those of the first TiB. They lie in a mapping, of which only
what was written takes memory; no data thread goes beyond."""


class RamBackstore(Backstore):
    """``ram:SIZE``: bytes in chunks of 1 MiB, made at the first write to them and given back by a discard.

    Its calls return at once, so they run on the event loop. Under a filter that blocks they come from several threads:
    each step on a chunk is one operation of the interpreter, so that calls on different blocks cannot disturb
    each other. While data threads use it each call is alone with the bytes.
    """

    kind = "ram"
    summary = "memory; everything is lost when the server ends"
    what = "SIZE"
    blocking = False

    def __init__(self, what: str) -> None:
        self._words = array("q", [size_of_what(self.kind, what), 0])
        self._alone = Alone(self._words)
        self._chunks: dict[int, bytearray] = {}
        self._table = mmap.mmap(-1, _MOST_PLACES * 8)
        self._places = memoryview(self._table).cast("Q")

    def close(self) -> None:
        """Give all memory back."""
        with self._alone:
            for index in tuple(self._chunks):
                self._drop(index)

    def _drop(self, index: int) -> bytearray | None:
        if index < _MOST_PLACES:
            self._places[index] = 0
        return self._chunks.pop(index, None)

    def _make(self, index: int) -> bytearray:
        chunk = self._chunks.setdefault(index, bytearray(_CHUNK))  # another thread may have made it since
        if index < _MOST_PLACES:
            self._places[index] = ctypes.addressof(ctypes.c_char.from_buffer(chunk))
        return chunk

    def keep(self) -> int:
        """A sparse file in memory with the chunks, each of which is given back once it is in it."""
        fd = memory_file(self.kind)
        os.ftruncate(fd, self.size)
        for index in sorted(self._chunks):
            chunk = self._drop(index)
            assert chunk is not None
            write_fully(fd, index * _CHUNK, memoryview(chunk)[: self.size - index * _CHUNK])
        return fd

    def restore(self, fd: int) -> None:
        """Make the chunks that are in the file, and no others."""
        for extent in file_extents(fd, 0, self.size, _CHUNK):
            if extent.state is Allocation.MAPPED:
                for index, start, end in _pieces(extent.offset, extent.length):
                    read_fully(fd, index * _CHUNK + start, memoryview(self._make(index))[start:end])

    @property
    def size(self) -> int:
        """As given, or as set by ``resize``."""
        return self._words[SIZE]

    @property
    def allocated(self) -> int:
        """The chunks that were made."""
        return len(self._chunks) * _CHUNK

    @property
    def identity(self) -> str:
        """Without the size, which may change."""
        return self.kind

    @property
    def capabilities(self) -> Capabilities:
        """Thin; and volatile, flushed or not: power failure takes it all."""
        return Capabilities(read_only=self.read_only, volatile_cache=not self.read_only, thin=True)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy from the chunks; zeros where there is none."""
        with self._alone:
            self._read(offset, buffer)

    def _read(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        position = 0
        for index, start, end in _pieces(offset, len(buffer)):
            part = buffer[position : position + end - start]
            chunk = self._chunks.get(index)
            if chunk is None:
                fill_zeros(part)
            else:
                part[:] = memoryview(chunk)[start:end]
            position += end - start

    def write(self, offset: int, buffer: memoryview) -> None:
        """Copy into the chunks, making those that are missing."""
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        with self._alone:
            self._write(offset, buffer)

    def _write(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        position = 0
        for index, start, end in _pieces(offset, len(buffer)):
            chunk = self._chunks.get(index)
            if chunk is None:
                chunk = self._make(index)
            chunk[start:end] = buffer[position : position + end - start]
            position += end - start

    def flush(self) -> None:
        """Nothing to do: memory does not become stable."""

    def write_zeroes(self, offset: int, length: int) -> None:
        """Drop the chunks that lie within the range whole, and clear the parts of the others."""
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        with self._alone:
            self._write_zeroes(offset, length)

    def _write_zeroes(self, offset: int, length: int) -> None:
        self._check(offset, length)
        whole = range(-(-offset // _CHUNK), (offset + length) // _CHUNK)
        # A range may cover many times more chunks than there are.
        for index in [i for i in tuple(self._chunks) if i in whole] if len(whole) > len(self._chunks) else whole:
            self._drop(index)
        last = (offset + length) // _CHUNK
        for index in {offset // _CHUNK, last}:
            chunk = self._chunks.get(index)
            if chunk is not None and index not in whole:
                start = max(0, offset - index * _CHUNK)
                end = min(_CHUNK, offset + length - index * _CHUNK)
                if end > start:
                    fill_zeros(memoryview(chunk)[start:end])

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Mapped where there is a chunk, a hole elsewhere; goes by the chunks, as holes may be a million times more."""
        end = offset + length
        for index in sorted(i for i in tuple(self._chunks) if offset < (i + 1) * _CHUNK and i * _CHUNK < end):
            start, stop = max(offset, index * _CHUNK), min(end, (index + 1) * _CHUNK)
            if start > offset:
                yield Extent(offset, start - offset, Allocation.HOLE)
            yield Extent(start, stop - start, Allocation.MAPPED)
            offset = stop
        if offset < end:
            yield Extent(offset, end - offset, Allocation.HOLE)

    def resize(self, size: int) -> None:
        """Change the size; what lies beyond a smaller one is gone."""
        with self._alone:
            if size < self.size:
                self.write_zeroes(size, self.size - size)
            self._words[SIZE] = size

    def shortcut(self) -> Shortcut | None:
        """The chunks."""
        if type(self) is not RamBackstore or self.read_only:
            return None
        return Shortcut(self.kind, self._words, self._chunks, places=self._table)

    def _check(self, offset: int, length: int) -> None:
        size = self._words[SIZE]
        if offset + length > size:
            raise MediumError("beyond the end of the disk", max(offset, size))


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range at the chunks' borders: chunk's index, start and end within it."""
    end = offset + length
    while offset < end:
        index, start = divmod(offset, _CHUNK)
        stop = min(_CHUNK, start + end - offset)
        yield index, start, stop
        offset += stop - start
