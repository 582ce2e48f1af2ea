"""What a power failure could take back: each block that was written since the last flush, as the medium had it then.

A drive's cache loses whole blocks or some sectors of them, in any order. The log of those blocks is in memory up to a
bound, then in a file without a name.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

SECTOR: Final = 512
"""Bytes that a drive writes whole, or not at all."""
_TORN_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class PowerCut:
    """What a power failure has done, in blocks: how many were unflushed, lost whole, and lost in part."""

    unflushed: int
    dropped: int
    torn: int


class UnflushedLog:
    """The content that blocks of ``block_size`` bytes had. ``memory``: bytes of it that may be in memory."""

    __slots__ = ("_before", "_block_size", "_file", "_free", "_limit", "_memory", "_zeros")

    def __init__(self, block_size: int, memory: int) -> None:
        self._limit = memory
        self._block_size = block_size
        self._zeros = bytes(block_size)
        self._before: dict[int, bytes | int] = {}
        """By block: its content, or which block of the file that is."""
        self._memory = 0
        self._file: IO[bytes] | None = None
        self._free = 0

    def __len__(self) -> int:
        return len(self._before)

    def missing(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """The parts of a range of which nothing is kept yet, as offset and length in bytes."""
        step = self._block_size
        start = -1
        for block in range(offset // step, (offset + length) // step):
            if block not in self._before:
                start = block if start < 0 else start
            elif start >= 0:
                yield start * step, (block - start) * step
                start = -1
        if start >= 0:
            yield start * step, offset + length - start * step

    def keep(self, offset: int, content: memoryview) -> None:
        """Keep what a range has on the medium, of which nothing is kept yet. Raises OSError if it cannot."""
        step = self._block_size
        for at in range(0, len(content), step):
            self._before[(offset + at) // step] = self._put(bytes(content[at : at + step]))

    def keep_zeros(self, offset: int, length: int) -> None:
        """Keep that a range reads as zeros."""
        for block in range(offset // self._block_size, (offset + length) // self._block_size):
            self._before[block] = self._zeros

    def _put(self, content: bytes) -> bytes | int:
        if content == self._zeros:
            return self._zeros
        if self._memory + len(content) <= self._limit:
            self._memory += len(content)
            return content
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- it lasts as long as the log
        place, self._free = self._free, self._free + 1
        os.pwrite(self._file.fileno(), content, place * self._block_size)
        return place

    def _get(self, kept: bytes | int) -> bytes:
        if isinstance(kept, bytes):
            return kept
        assert self._file is not None
        return os.pread(self._file.fileno(), self._block_size, kept * self._block_size)

    def take_over(self, older: UnflushedLog) -> None:
        """What an older log kept is unflushed after all; where both have a block, the older one's content counts."""
        for block, kept in older._before.items():
            self._before[block] = self._put(older._get(kept))
        older.flushed()

    def flushed(self, blocks: range | None = None) -> None:
        """These blocks, or all, are on the medium now."""
        if blocks is None:
            self._before.clear()
            self._memory = self._free = 0
            if self._file is not None:
                self._file.close()
                self._file = None
            return
        for block in blocks:
            self._before.pop(block, None)

    def cut(self, drop: float, torn: bool, seed: int) -> tuple[PowerCut, list[tuple[int, bytes]]]:
        """Decide what a power failure takes: the report, and what to write back, as offset and content.

        ``drop``: the share of the unflushed blocks that are lost. ``torn``: of a quarter of those only some sectors
        are lost; a block of one sector is lost whole. The same ``seed`` takes the same of the same blocks.
        """
        numbers = random.Random(seed)
        chosen = sorted(numbers.sample(sorted(self._before), round(drop * len(self._before))))
        back: list[tuple[int, bytes]] = []
        in_part = 0
        for block in chosen:
            content = self._get(self._before[block])
            sectors = range(len(content) // SECTOR)
            if torn and len(sectors) > 1 and numbers.random() < _TORN_SHARE:
                in_part += 1
                sectors_lost = sorted(numbers.sample(sectors, numbers.randrange(1, len(sectors))))
                start = block * self._block_size
                back += [(start + n * SECTOR, content[n * SECTOR : (n + 1) * SECTOR]) for n in sectors_lost]
            else:
                back.append((block * self._block_size, content))
        return PowerCut(len(self._before), len(chosen) - in_part, in_part), back
