"""The ``readonly`` filter: nothing gets through that would change the medium."""

from __future__ import annotations

import errno

from iscsitools.backstores.base import Backstore, Capabilities, Filter


class ReadonlyFilter(Filter):
    """``KIND+readonly``: opens what is below for reading only and refuses writes with EROFS."""

    kind = "readonly"
    summary = "refuses writes and opens what is below for reading only"

    def __init__(self, inner: Backstore) -> None:
        super().__init__(inner)
        self.read_only = True

    @property
    def capabilities(self) -> Capabilities:
        """The inner one's, but read-only and with nothing in a cache that could be lost."""
        inner = self.inner.capabilities
        return Capabilities(
            read_only=True,
            thin=inner.thin,
            rotational=inner.rotational,
            physical_block_size=inner.physical_block_size,
            optimal_io_size=inner.optimal_io_size,
        )

    def open(self) -> None:
        """Open the inner one for reading only, whatever the disk has asked for."""
        self.read_only = True
        super().open()

    def write(self, offset: int, buffer: memoryview) -> None:
        """Refuse."""
        raise OSError(errno.EROFS, "the readonly filter lets no write through")

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Refuse, at once."""
        self.write(offset, buffer)
        return False

    def write_zeroes(self, offset: int, length: int) -> None:
        """Refuse, also when nothing is to be zeroed."""
        self.write(offset, memoryview(b""))

    def resize(self, size: int) -> None:
        """Refuse."""
        raise OSError(errno.EROFS, "the readonly filter lets no resize through")
