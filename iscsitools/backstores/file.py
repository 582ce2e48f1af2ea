"""The ``file`` backstore: a regular file or a block device.

What is true of it, and why:

- **The cache is volatile.** Writes go to the page cache (with ``direct=yes``, to the drive's); only ``flush`` and
  ``write_through`` make them durable.
- **After a flush that failed nothing is promised any more** (:mod:`iscsitools.backstores.durability`): every write and
  flush fails with EIO until the file is opened again; reads go on.
- **A file that somebody cut keeps its length.** To write beyond its end would make it longer again, and zeros of all
  that was lost. So that is refused; a disk grows and shrinks by ``resize``, or when the new size has been told to
  those who use it.
- **Overlapping calls exclude each other** (:mod:`iscsitools.backstores.ranges`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Final

from iscsitools.backstores import values
from iscsitools.backstores.base import BackstoreError, Capabilities, CloneSource, Extent, MediumError, Option, Space
from iscsitools.backstores.devices import Device
from iscsitools.backstores.direct import DirectIo, direct_alignment
from iscsitools.backstores.durability import NO_SPACE, Durability
from iscsitools.backstores.file_asynchronous import AsynchronousFile
from iscsitools.backstores.file_clone import FileClone
from iscsitools.backstores.file_open import OpenFile
from iscsitools.backstores.file_ring import RingCalls
from iscsitools.backstores.holes import file_extents, punch_hole, zero_range
from iscsitools.backstores.shortcut import (
    DIRECT,
    DURABLE_FLAGS,
    FD,
    NO_WRITE_BEFORE,
    NO_WRITES,
    READ_FLAGS,
    forget,
    settle,
)
from iscsitools.backstores.syscalls import RWF_DSYNC, RWF_NOWAIT, is_in_memory, read_fully, sync_data, write_fully
from iscsitools.backstores.values import MAX_SIZE

_STAT_BLOCK: Final = 512
"""What st_blocks counts in, whatever the file system (stat(2))."""


class FileBackstore(AsynchronousFile):
    """``file:PATH``: the bytes of a file or block device, under a lock against a second server."""

    kind = "file"
    summary = "a file or a block device"
    what = "PATH"
    options = (
        Option("size", values.positive(values.size), 0, "make the file with this size, sparse, or grow it to it"),
        Option("direct", values.yes_no, False, "O_DIRECT: pass by the page cache"),
    )

    def __init__(self, what: str, size: int = 0, direct: bool = False) -> None:
        if not what:
            raise BackstoreError("file: a path has to follow the colon")
        self.path = os.path.expanduser(what)
        super().__init__()
        self._wanted_size = size
        self._direct = direct
        self._file: OpenFile | None = None
        self._device: Device | None = None
        self._thin = False

    def open(self) -> None:
        """Open, lock, and make or grow the file if ``size`` says so."""
        self._file = OpenFile(self.path, self._wanted_size, self.read_only, self._direct)
        self._fd = self._words[FD] = self._file.fd
        self.durability = Durability(self._fd, self.path, self._stop_writes_on_the_loop, self._words)
        self._words[DURABLE_FLAGS] = RWF_DSYNC
        self._calls = RingCalls(self, self._fd, self._direct)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; this ends the lock."""
        if self._calls is not None:
            self._calls.close(self.durability.witness)
            self._calls = None
        self._words[READ_FLAGS] = -1
        self._words[NO_WRITE_BEFORE] = NO_WRITES
        settle()
        forget(self._fd)
        self._close_apart()
        if self._file is not None:
            self.durability.close()
            self._file.close()
        self._file = None
        self._fd = self._words[FD] = -1
        self._io = None

    def _prepare(self) -> None:
        """Find out what file system and device can do, and open the fast paths that are sound with it."""
        assert self._file is not None
        self._device = self._file.device
        if self._device is not None:
            self._thin = self._device.thin
        elif not self.read_only:
            self._thin = punch_hole(self._fd, self.size, 4096)  # beyond the end: it changes nothing
        if self._direct:
            alignment = direct_alignment(self._fd)
            if not alignment or self.block_size % alignment:
                raise BackstoreError(f"{self.path}: direct=yes needs block_size={alignment or 4096} here")
            self._io = DirectIo(self._fd)
            self._words[DIRECT] = 1
            if not self.read_only:
                self._words[NO_WRITE_BEFORE] = 0
            return
        if is_in_memory(self._fd):
            self._words[READ_FLAGS] = 0
        elif RWF_NOWAIT:
            self._words[READ_FLAGS] = RWF_NOWAIT
        if not self.read_only:
            self._words[NO_WRITE_BEFORE] = 0

    @property
    def size(self) -> int:
        """The length of the file or device now, whoever changed it."""
        return os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def capabilities(self) -> Capabilities:
        """Thin where holes can be punched; volatile cache unless read-only, with O_DIRECT too (the drive has one)."""
        device = self._device
        return Capabilities(
            read_only=self.read_only or (device is not None and device.read_only),
            volatile_cache=not self.read_only,
            thin=self._thin,
            rotational=device is not None and device.rotational,
            physical_block_size=device.physical_block_size if device else 0,
            optimal_io_size=device.optimal_io_size if device else 0,
        )

    @property
    def own_identity(self) -> str:
        """Stored with a file, as an extended attribute; a block device's own; see docs/backstores.md."""
        return "" if self._file is None else self._file.own_identity

    @property
    def unflushed(self) -> bool:
        """Whether the page cache (with O_DIRECT, the drive's) may hold what the medium does not."""
        return self.durability.unflushed

    @property
    def allocated(self) -> int | None:
        """What the file takes in its file system; a block device does not say."""
        return None if self._device is not None else os.fstat(self._fd).st_blocks * _STAT_BLOCK

    @property
    def trouble(self) -> str:
        """A flush that failed, or a file that has been deleted."""
        if self.durability.failed is not None:
            return f"a flush failed ({self.durability.failed.strerror}): writes fail until it is opened again"
        return "" if os.fstat(self._fd).st_nlink else "the file has been deleted: it ends with the server"

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read; MediumError where the file has become shorter than it was."""
        io = self._io
        with self._ranges.shared(offset, len(buffer)):
            count = read_fully(self._fd, offset, buffer) if io is None else io.read(offset, buffer)
        if count < len(buffer):
            raise self.ends_at(offset + count)

    def ends_at(self, position: int) -> MediumError:
        """What a read fails with that found the file's end there."""
        return MediumError(f"{self.path} ends at byte {self.size}", position)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write into the page cache, or past it with ``direct=yes``."""
        with self._ranges.exclusive(offset, len(buffer)):
            self.check_writable(offset, len(buffer))
            self.durability.unflushed = True
            self._write(offset, buffer, 0)
            self.durability.unflushed = True  # a flush may have begun and ended in between

    def _write(self, offset: int, buffer: memoryview, flags: int) -> None:
        if self._io is None:
            write_fully(self._fd, offset, buffer, flags)
        else:
            self._io.write(offset, buffer, flags)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write with RWF_DSYNC: only this range is synced, not all that is waiting."""
        if not RWF_DSYNC:
            super().write_through(offset, buffer)
            return
        with self._ranges.exclusive(offset, len(buffer)):
            self.check_writable(offset, len(buffer))
            try:
                self._write(offset, buffer, RWF_DSYNC)
            except OSError as error:
                self.durable_write_failed(error, offset, buffer)

    def durable_write_failed(self, error: OSError, offset: int, buffer: memoryview) -> None:
        """A write that was to be durable failed: see whether it was only for space. Its range is still held."""
        if error.errno in NO_SPACE:
            self._write_without_space(offset, buffer)
        self.durability.lose(error)
        raise error

    def _write_without_space(self, offset: int, buffer: memoryview) -> None:
        """Write once more, not durably. No space for it either: then that was all, perhaps; see Durability."""
        try:
            self._write(offset, buffer, 0)
        except OSError as error:
            if error.errno not in NO_SPACE:
                self.durability.lose(error)
            elif not is_in_memory(self._fd):  # where nothing is ever written back, and so nothing fails late
                self.durability.no_space(error)
            raise

    def flush(self) -> None:
        """Fdatasync; once it has failed, it fails until the file is opened again."""
        self.durability.flush(sync_data)  # read-only too: what others wrote may be read with FUA

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole; zeros are written where that cannot be done."""
        if not self._change(punch_hole, offset, length):
            self.write_zeroes(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Zero a range and keep its space; zeros are written where the file system cannot."""
        if not self._change(zero_range, offset, length):
            super().write_zeroes(offset, length)

    def _change(self, call: Callable[[int, int, int], bool], offset: int, length: int) -> bool:
        with self._ranges.exclusive(offset, length):
            self.check_writable(offset, length)
            self.durability.unflushed = True
            done = call(self._fd, offset, length)
            self.durability.unflushed = True
        return done

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Holes and data as SEEK_HOLE and SEEK_DATA tell; a block that is in part data is data."""
        return file_extents(self._fd, offset, length, self.block_size)

    def space(self) -> Space | None:
        """The blocks of a file, and what its file system has left for it; nothing is known of a block device's."""
        if self._device is not None:
            return None
        system = os.fstatvfs(self._fd)
        return Space(os.fstat(self._fd).st_blocks * _STAT_BLOCK, system.f_bavail * system.f_frsize)

    def clone_source(self) -> CloneSource | None:
        """The file; None with ``direct=yes`` and for block devices."""
        return None if self._io is not None or self._device is not None else FileClone(self._fd, self._ranges)

    def clone_from(self, source: CloneSource, source_offset: int, offset: int, length: int) -> bool:
        """By copy_file_range(2), which shares the blocks where the file system can."""
        if not isinstance(source, FileClone) or self._io is not None or self._device is not None:
            return False
        self.check_writable(offset, length)
        self.durability.unflushed = True
        done = source.copy_to(source_offset, self._fd, self._ranges, offset, length)
        self.durability.unflushed = True
        return done

    def resize(self, size: int) -> None:
        """Set a regular file's length."""
        if self._device is not None or self.read_only:
            super().resize(size)
        with self._ranges.exclusive(0, MAX_SIZE):
            os.ftruncate(self._fd, size)
            self.durability.unflushed = True

    @property
    def is_plain(self) -> bool:
        """Whether this is no class that derives from it, which may change what calls do."""
        return type(self) is FileBackstore

    def check_writable(self, offset: int, length: int) -> None:
        """Raise what a write to this range fails with before it is begun."""
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.path} is open for reading only")
        self.durability.check()
        end = self.size
        if offset + length > end:
            raise MediumError(
                f"{self.path} ends at byte {end}: somebody has cut it. Nothing is written beyond, until it has its "
                "length again or the disk its new size",
                max(offset, end),
            )
