"""The ``null`` backstore: reads zeros, forgets what is written. For measuring everything else."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterator
from typing import Final

from iscsitools.backstores import values
from iscsitools.backstores.base import Allocation, Backstore, BackstoreError, Capabilities, Extent, Shortcut

_ZEROS: Final = memoryview(bytes(1 << 20))


def fill_zeros(buffer: memoryview) -> None:
    """Make all of ``buffer`` zero."""
    for start in range(0, len(buffer), len(_ZEROS)):
        part = buffer[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]


def size_of_what(kind: str, what: str) -> int:
    """Read the SIZE of ``KIND:SIZE``; raises BackstoreError."""
    try:
        size = values.size(what)
    except ValueError as error:
        raise BackstoreError(f"{kind}: {error}") from None
    if not size:
        raise BackstoreError(f"{kind}: the size is 0")
    return size


class NullBackstore(Backstore):
    """``null:SIZE``: takes no space and keeps nothing."""

    kind = "null"
    summary = "reads zeros and forgets what is written"
    what = "SIZE"
    blocking = False

    def __init__(self, what: str) -> None:
        self._size = size_of_what(self.kind, what)

    @property
    def allocated(self) -> int:
        """Nothing."""
        return 0

    @property
    def size(self) -> int:
        """As given, or as set by ``resize``."""
        return self._size

    @property
    def identity(self) -> str:
        """Without the size, which may change."""
        return self.kind

    @property
    def capabilities(self) -> Capabilities:
        """Thin: nothing takes space. What is written is lost, so the cache counts as volatile."""
        return Capabilities(read_only=self.read_only, volatile_cache=not self.read_only, thin=True)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill with zeros."""
        fill_zeros(buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Do nothing, if it may be written."""
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def flush(self) -> None:
        """Do nothing."""

    def write_zeroes(self, offset: int, length: int) -> None:
        """Do nothing, if it may be written."""
        self.write(offset, _ZEROS[:0])

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """One hole."""
        yield Extent(offset, length, Allocation.HOLE)

    def shortcut(self) -> Shortcut | None:
        """Zeros, and nothing."""
        return Shortcut(self.kind, array("q")) if type(self) is NullBackstore and not self.read_only else None

    def resize(self, size: int) -> None:
        """Take another size."""
        self._size = size
