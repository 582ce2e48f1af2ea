"""The model test: a disk and the bytes that it should have, under calls chosen at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from iscsitools.backstores.base import Allocation, Backstore
from iscsitools.testing.store_calls import call, compare_and_write, read
from iscsitools.testing.together import KINDS, Together

_CHANGES: Final = ("write", "write", "write_through", "try_write", "discard", "write_zeroes")
_COMPARES: Final = "compare_and_write"
_TOGETHER: Final = "several at once"
_OTHERS: Final = ("read_into", "read_into", "try_read_into", "extents", "flush")
_LONGEST: Final = 48


def check_model(
    make: Callable[[], Backstore], seed: int = 0, steps: int = 200, block_size: int = 512, persistent: bool = False
) -> None:
    """Make a store, open it, do ``steps`` things to it, and compare it with a bytearray all the time.

    ``persistent``: after a flush and a close another one of ``make`` has the same bytes; then that is tried too. The
    same ``seed`` does the same. What the store takes asynchronously is submitted; COMPARE AND WRITE is tried then, too,
    and several reads and writes under way at once, one of which may be taken back (``cancel``).
    A read-only store is only read: each range twice, and by every method, the same.
    """
    twin = _Twin(make, random.Random(seed), block_size, persistent)
    done: list[str] = []
    try:
        for _ in range(steps):
            done.append(twin.step())
        twin.compare(0, twin.store.size)
    except Exception as error:
        last = "\n  ".join(done[-8:])
        raise AssertionError(f"check_model(seed={seed}): {error!r} after\n  {last}") from error
    finally:
        twin.store.close()


class _Twin:
    """The disk and what it should read as."""

    def __init__(self, make: Callable[[], Backstore], numbers: random.Random, block_size: int, persist: bool) -> None:
        self._make = make
        self._numbers = numbers
        self._block_size = block_size
        self._persistent = persist
        self.store = self._open()
        self._content = bytearray(read(self.store, 0, self.store.size))
        self._writable = not self.store.capabilities.read_only
        asynchronous = self.store.asynchronous
        together = (_TOGETHER,) if any(kind in asynchronous for kind in KINDS) else ()
        self._more = (_COMPARES, *together) if asynchronous else ()

    def _open(self) -> Backstore:
        store = self._make()
        store.block_size = self._block_size
        store.open()
        self._block_size = store.block_size
        return store

    def step(self) -> str:
        """Do one thing; returns what it was."""
        numbers, block = self._numbers, self._block_size
        blocks = self.store.size // block
        first = numbers.randrange(blocks)
        offset = first * block
        length = min(numbers.choice((1, 2, 8, numbers.randint(1, _LONGEST))), blocks - first) * block
        if self._persistent and numbers.random() < 0.03:
            self._reopen()
            return "close and open again"
        name = numbers.choice((*_OTHERS, *_CHANGES, *self._more) if self._writable else _OTHERS)
        if name == _TOGETHER:
            return Together(self.store, self._content, block, numbers).step()
        if name == _COMPARES:
            self._compare_and_write(offset, length)
        elif name in _CHANGES:
            self._change(name, offset, length)
        elif name == "flush":
            call(self.store, "flush")
        elif name == "extents":
            self._check_extents(offset, length)
        else:
            self.compare(offset, length, name)
        return f"{name} of {length} bytes at {offset}"

    def _change(self, name: str, offset: int, length: int) -> None:
        if name in ("discard", "write_zeroes"):
            call(self.store, name, offset, length)
            self._content[offset : offset + length] = bytes(length)
            return
        data = self._numbers.randbytes(16) * (length // 16)
        if call(self.store, name, offset, memoryview(data)) is not False:
            self._content[offset : offset + length] = data

    def _compare_and_write(self, offset: int, length: int) -> None:
        """With what is there, or with one byte of it changed: then nothing may be written."""
        expected = bytearray(self._content[offset : offset + length])
        data = self._numbers.randbytes(16) * (length // 16)
        index = self._numbers.choice((-1, self._numbers.randrange(length)))
        if index >= 0:
            expected[index] ^= 0xFF
        found = compare_and_write(self.store, offset, bytes(expected), data)
        assert found == index, f"compare_and_write: the difference is at byte {index}, not {found}"
        if index < 0:
            self._content[offset : offset + length] = data

    def compare(self, offset: int, length: int, name: str = "read_into") -> None:
        """Read a range and compare it."""
        buffer = bytearray(b"\xa5" * length)
        if call(self.store, name, offset, memoryview(buffer)) is False and name != "read_into":
            return
        if buffer != self._content[offset : offset + length]:
            at = next(n for n in range(length) if buffer[n] != self._content[offset + n])
            raise AssertionError(f"{name} of {length} bytes at {offset}: byte {offset + at} is not what was written")

    def _check_extents(self, offset: int, length: int) -> None:
        position = offset
        for extent in call(self.store, "extents", offset, length):
            assert extent.offset == position, f"extents: {extent} does not begin at {position}"
            assert extent.length > 0, f"extents: {extent} is empty"
            assert extent.length % self._block_size == 0, f"extents: {extent} is not of whole blocks"
            position += extent.length
            zeros = not any(self._content[extent.offset : position])
            assert extent.state is Allocation.MAPPED or zeros, f"extents: {extent} has other bytes than zeros"
        assert position == offset + length, f"extents end at {position}, not at {offset + length}"

    def _reopen(self) -> None:
        call(self.store, "flush")
        self.store.close()
        self.store = self._open()
        self.compare(0, self.store.size)
