"""The most recently used blocks of an image."""

from __future__ import annotations

from collections import OrderedDict


class BlockCache:
    """Blocks by number, at most ``capacity`` of them; the one not used for longest goes first. Not locked."""

    __slots__ = ("_blocks", "_capacity")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def __contains__(self, number: int) -> bool:
        return number in self._blocks

    def get(self, number: int) -> bytes | None:
        """The block, which now counts as used."""
        block = self._blocks.get(number)
        if block is not None:
            self._blocks.move_to_end(number)
        return block

    def put(self, number: int, block: bytes) -> None:
        """Keep a block, and forget others if there are too many."""
        self._blocks[number] = block
        self._blocks.move_to_end(number)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._blocks.clear()
