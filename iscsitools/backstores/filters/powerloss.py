"""The ``powerloss`` filter: a disk of which the power can be cut while it is served.

Everything is written to the disk below at once, so nothing is lost that would not be lost without this filter. Before
that, what the blocks had is read and kept until a flush; a cut writes a chosen part of it back.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from iscsitools.backstores import values
from iscsitools.backstores.base import Allocation, Backstore, Capabilities, Option
from iscsitools.backstores.filters.adjustable import AdjustableFilter
from iscsitools.backstores.filters.unflushed import PowerCut, UnflushedLog

_PIECE: Final = 1 << 20
_LONGEST: Final = 256 << 20


class PowerlossFilter(AdjustableFilter):
    """``KIND+powerloss``: unflushed blocks can be taken back by :meth:`cut`. Writers take turns; reads are as below.

    A discard or zeroing of more than 256 MiB is flushed at once, for it would fill the log.
    """

    kind = "powerloss"
    summary = "keeps what a power failure could take back, and takes it back on demand"
    options = (
        Option("keep", values.yes_no, True, "no: unflushed writes cannot be taken back, and are not slowed down"),
        Option("memory", values.positive(values.size), 64 << 20, "the most memory for the log; the rest is in a file"),
    )

    def __init__(self, inner: Backstore, **options: Any) -> None:
        super().__init__(inner, **options)
        self._log = self._new_log()
        self._write_lock = threading.Lock()
        self._flush_lock = threading.Lock()

    def _follow(self) -> None:
        """Writes come here while they are kept, in threads, because a block is read before it is written."""
        super()._follow()
        self.passes_writes = False
        self._blocks = True

    def open(self) -> None:
        """Open the inner one; what it has then counts as flushed."""
        super().open()
        self._log = self._new_log()

    def _new_log(self) -> UnflushedLog:
        return UnflushedLog(self.block_size, self.value("memory"))

    def close(self) -> None:
        """Close the inner one and the log."""
        self._log.flushed()
        super().close()

    @property
    def capabilities(self) -> Capabilities:
        """The inner one's, with a volatile cache."""
        inner = self.inner.capabilities
        return dataclasses.replace(inner, volatile_cache=not inner.read_only)

    @property
    def unflushed(self) -> bool:
        """Whether there is something that a cut could take back."""
        return bool(len(self._log)) or self.inner.unflushed

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Leave it to a thread, unless nothing is kept."""
        return not self.value("keep") and not len(self._log) and self.inner.try_write(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Keep what is there, and write."""
        self._change(offset, len(buffer), partial(self.inner.write, offset, buffer))

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write durably; if that fails it may be there in part."""

        def change() -> None:
            self.inner.write_through(offset, buffer)
            self._log.flushed(range(offset // self.block_size, (offset + len(buffer)) // self.block_size))

        self._change(offset, len(buffer), change)

    def discard(self, offset: int, length: int) -> None:
        """Keep what is there, and discard."""
        self._change(offset, length, partial(self.inner.discard, offset, length))

    def write_zeroes(self, offset: int, length: int) -> None:
        """Keep what is there, and write zeros."""
        self._change(offset, length, partial(self.inner.write_zeroes, offset, length))

    def _change(self, offset: int, length: int, change: Callable[[], None]) -> None:
        kept = self._is_kept(length)
        with self._write_lock:
            if kept:
                self._keep(offset, length)
            change()
        if length > _LONGEST:
            self.flush()

    def resize(self, size: int) -> None:
        """Resize the inner one durably: blocks that are gone cannot be taken back."""
        self.flush()
        with self._write_lock:
            self.inner.resize(size)
            self._log.flushed()

    def flush(self) -> None:
        """Flush the inner one; then nothing that was written before can be taken back."""
        with self._flush_lock:
            with self._write_lock:
                before, self._log = self._log, self._new_log()
            try:
                self.inner.flush()
            except BaseException:
                with self._write_lock:
                    self._log.take_over(before)
                raise
            before.flushed()

    def cut(self, drop: float = 1.0, torn: bool = False, seed: int = 0) -> PowerCut:
        """Take back a share ``drop`` (0 to 1) of the blocks that no flush has made durable, as if the power had gone.

        ``torn``: some of them only in part, by sectors of 512 bytes. ``seed`` chooses them. End the sessions before:
        an initiator that goes on does not see what one sees after a power failure. Calls of others wait meanwhile.
        """
        with self._flush_lock, self._write_lock:
            report, back = self._log.cut(drop, torn, seed)
            for offset, content in back:
                self._put_back(offset, content)
            self._log.flushed()
            self.inner.flush()
        return report

    def _put_back(self, offset: int, content: bytes) -> None:
        """Write sectors back; where the disk's blocks are larger, with the rest of the block as it is."""
        start = offset - offset % self.block_size
        if start == offset and len(content) % self.block_size == 0:
            self.inner.write(offset, memoryview(content))
            return
        block = memoryview(bytearray(self.block_size))
        self.inner.read_into(start, block)
        block[offset - start : offset - start + len(content)] = content
        self.inner.write(start, block)

    def _is_kept(self, length: int) -> bool:
        """Whether a change of so many bytes can be taken back; if not, what was written before cannot be any more."""
        if self.value("keep") and length <= _LONGEST:
            return True
        if len(self._log):
            self.flush()
        return False

    def _keep(self, offset: int, length: int) -> None:
        """Read what a range has and keep it, unless something older of it is kept."""
        for start, count in tuple(self._log.missing(offset, length)):
            for extent in self.inner.extents(start, count):
                if extent.state is not Allocation.MAPPED:
                    self._log.keep_zeros(extent.offset, extent.length)
                else:
                    self._read_and_keep(extent.offset, extent.length)

    def _read_and_keep(self, offset: int, length: int) -> None:
        buffer = memoryview(bytearray(min(length, _PIECE)))
        for at in range(0, length, _PIECE):
            piece = buffer[: min(_PIECE, length - at)]
            self.inner.read_into(offset + at, piece)
            self._log.keep(offset + at, piece)
