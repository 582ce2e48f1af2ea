"""The ``file`` backstore: a regular file or a block device.

What is true of it, and why:

- **The cache is volatile.** Writes go to the page cache (with ``direct=yes``, to the drive's); only ``flush`` and
  ``write_through`` make them durable.
- **After a flush that failed nothing is promised any more.** Linux reports a lost write once and marks the page clean,
  so that a second fdatasync would return success for data that never reached the disk. From then on every write and
  flush fails with EIO until the file is opened again; reads go on.
- **The file is not mapped into memory**: a file cut short by somebody else would end the process by SIGBUS.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from iscsitools.backstores import values
from iscsitools.backstores.base import (
    Backstore,
    BackstoreError,
    Capabilities,
    Extent,
    FileRange,
    MediumError,
    Option,
)
from iscsitools.backstores.direct import DirectIo, direct_alignment
from iscsitools.backstores.file_open import open_file, take_lock
from iscsitools.backstores.holes import file_extents, punch_hole, zero_range
from iscsitools.backstores.residency import make_residency_check
from iscsitools.backstores.syscalls import (
    RWF_DSYNC,
    RWF_NOWAIT,
    Device,
    is_block_device,
    is_in_memory,
    read_fully,
    sync_data,
    write_fully,
)

_PAGE_MASK: Final = 4095
_resident: Final = make_residency_check()
_SLOW_NS: Final = 20_000_000
_FIRST_PAUSE_NS: Final = 50_000_000
_LONGEST_PAUSE_NS: Final = 2_000_000_000
_NEVER: Final = 1 << 62  # as a time: no write on the loop before it


class FileBackstore(Backstore):
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
        self._wanted_size = size
        self._direct = direct
        self._fd = -1
        self._io: DirectIo | None = None
        self._device: Device | None = None
        self._thin = False
        self._failed: OSError | None = None
        self._read_flags = -1
        self._no_write_before = _NEVER
        self._pause = _FIRST_PAUSE_NS

    def open(self) -> None:
        """Open, lock, and make or grow the file if ``size`` says so."""
        self._fd = open_file(self.path, self._wanted_size, self.read_only, self._direct)
        try:
            take_lock(self._fd, self.path, shared=self.read_only)
            self._fit_size()
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; this ends the lock."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._io = None
        self._read_flags = -1
        self._no_write_before = _NEVER

    def _fit_size(self) -> None:
        status = os.fstat(self._fd)
        self._device = Device(self._fd) if is_block_device(status.st_mode) else None
        size, wanted = self.size, self._wanted_size
        if wanted and wanted != size:
            if wanted < size:
                raise BackstoreError(
                    f"{self.path} has {size} bytes already, more than size={wanted}; nothing was cut off"
                )
            if self._device is not None or self.read_only:
                raise BackstoreError(f"{self.path} has {size} bytes, not size={wanted}, and cannot be grown here")
            os.ftruncate(self._fd, wanted)
        elif not size:
            raise BackstoreError(f"{self.path} is empty; add size=SIZE to give it a size")

    def _prepare(self) -> None:
        """Find out what file system and device can do, and open the fast paths that are sound with it."""
        self._failed = None
        if self._device is not None:
            self._thin = self._device.thin
        elif not self.read_only:
            self._thin = punch_hole(self._fd, self.size, 4096)  # beyond the end: it changes nothing
        if self._direct:
            alignment = direct_alignment(self._fd)
            if not alignment or self.block_size % alignment:
                raise BackstoreError(f"{self.path}: direct=yes needs block_size={alignment or 4096} here")
            self._io = DirectIo(self._fd)
            return
        if is_in_memory(self._fd):
            self._read_flags = 0
        elif RWF_NOWAIT:
            self._read_flags = RWF_NOWAIT
        if not self.read_only:
            self._no_write_before = 0

    @property
    def size(self) -> int:
        """The file's length now, whoever changed it."""
        if self._device is not None:
            return os.lseek(self._fd, 0, os.SEEK_END)
        return os.fstat(self._fd).st_size

    @property
    def capabilities(self) -> Capabilities:
        """Thin where holes can be punched; volatile cache unless read-only, with O_DIRECT too (the drive has one)."""
        device = self._device
        return Capabilities(
            read_only=self.read_only,
            volatile_cache=not self.read_only,
            thin=self._thin,
            rotational=device is not None and device.rotational,
            physical_block_size=device.physical_block_size if device else 0,
            optimal_io_size=device.optimal_io_size if device else 0,
        )

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read; MediumError where the file has become shorter than it was."""
        io = self._io
        count = read_fully(self._fd, offset, buffer) if io is None else io.read(offset, buffer)
        if count < len(buffer):
            raise MediumError(f"{self.path} ends at byte {offset + count}", offset + count)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write into the page cache, or past it with ``direct=yes``."""
        self._check_writable()
        if self._io is None:
            write_fully(self._fd, offset, buffer)
        else:
            self._io.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write with RWF_DSYNC: only this range is synced, not all that is waiting."""
        if not RWF_DSYNC:
            super().write_through(offset, buffer)
            return
        self._check_writable()
        write: Callable[[int, memoryview, int], None]
        write = (
            self._io.write if self._io is not None else lambda at, data, flags: write_fully(self._fd, at, data, flags)
        )
        try:
            write(offset, buffer, RWF_DSYNC)
        except OSError as error:
            # No space for this write is no loss of earlier ones; then an unsynced write fails in the same way.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                write(offset, buffer, 0)
            self._lose(error)
            raise

    def flush(self) -> None:
        """Fdatasync; once it has failed, it fails until the file is opened again."""
        if self.read_only:
            return
        self._check_writable()
        try:
            sync_data(self._fd)
        except OSError as error:
            self._lose(error)
            raise

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole; zeros are written where that cannot be done."""
        self._check_writable()
        if not punch_hole(self._fd, offset, length):
            self.write_zeroes(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Zero a range and keep its space; zeros are written where the file system cannot."""
        self._check_writable()
        if not zero_range(self._fd, offset, length):
            super().write_zeroes(offset, length)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Holes and data as SEEK_HOLE and SEEK_DATA tell; a block that is in part data is data."""
        return file_extents(self._fd, offset, length, self.block_size)

    def resize(self, size: int) -> None:
        """Set a regular file's length."""
        if self._device is not None or self.read_only:
            super().resize(size)
        os.ftruncate(self._fd, size)

    def try_read_into(
        self, offset: int, buffer: memoryview,
        _preadv: Callable[..., int] = os.preadv,
    ) -> bool:  # fmt: skip
        """Read if all of it is in the page cache. Hot: one system call, nothing else."""
        flags = self._read_flags
        if flags < 0:
            return False
        try:
            return _preadv(self._fd, (buffer,), offset, flags) == len(buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # no RWF_NOWAIT in this file system
                self._read_flags = -1
                return False
            raise

    def try_range(self, offset: int, length: int) -> FileRange | None:
        """The file's own bytes, when all of them are in the page cache."""
        flags = self._read_flags
        if flags < 0 or (flags and (_resident is None or not _resident(self._fd, offset, length))):
            return None
        return FileRange(self._fd, offset, length)

    def try_write(
        self, offset: int, buffer: memoryview,
        _pwrite: Callable[..., int] = os.pwrite, _clock: Callable[[], int] = time.monotonic_ns,
    ) -> bool:  # fmt: skip
        """Write into the page cache, unless a page would have to be read first or writers are being throttled. Hot.

        When a write took 20 ms, the file system is committing, or dirty pages are over the kernel's limit. Writes then
        go to threads for a while, twice as long each time that the first one after it is slow again.
        """
        start = _clock()
        if start < self._no_write_before:
            return False
        length = len(buffer)
        if (offset | length) & _PAGE_MASK and not self._edges_cached(offset, offset + length):
            return False
        done = _pwrite(self._fd, buffer, offset)
        if done != length:
            write_fully(self._fd, offset + done, buffer[done:])
        now = _clock()
        if now - start > _SLOW_NS:
            again = start - self._no_write_before < self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_NS) if again else _FIRST_PAUSE_NS
            self._no_write_before = now + self._pause
            if self._failed is not None:  # a thread has set it, and _no_write_before, in between
                self._no_write_before = _NEVER
        return True

    def _edges_cached(self, start: int, end: int) -> bool:
        """Whether the pages that a write covers in part are in the page cache."""
        flags = self._read_flags
        if flags <= 0:
            return flags == 0
        byte = bytearray(1)
        try:
            for position in (start, end):
                if position & _PAGE_MASK and os.preadv(self._fd, (byte,), position & ~_PAGE_MASK, flags) != 1:
                    return False
        except OSError:
            return False
        return True

    def _lose(self, error: OSError) -> None:
        self._failed = error
        self._no_write_before = _NEVER

    def _check_writable(self) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.path} is open for reading only")
        if self._failed is not None:
            raise OSError(errno.EIO, f"{self.path}: writes may have been lost, for a flush failed: {self._failed}")
