"""A step of the model test: several requests under way at once, one of which is taken back."""

from __future__ import annotations

import random
from dataclasses import dataclass

from iscsitools.backstores.asynchronous import Operation, Request, read_request, write_request
from iscsitools.backstores.base import Backstore
from iscsitools.testing.store_calls import TakenBackError, ask_together, read

KINDS = (Operation.READ, Operation.WRITE)
"""What is asked for."""
_MOST = 4
_LONGEST = 16
"""Blocks."""


@dataclass
class _Asked:
    """One of them, and what it reads into or writes."""

    request: Request
    data: bytearray


class Together:
    """Reads and writes of places that are apart from each other. ``content``: what the disk has, brought up to date."""

    def __init__(self, store: Backstore, content: bytearray, block_size: int, numbers: random.Random) -> None:
        self._store = store
        self._content = content
        self._block_size = block_size
        self._numbers = numbers

    def step(self) -> str:
        """Ask for some, and see what has come of each; returns what was done."""
        asked = [self._ask(offset, length) for offset, length in self._places()]
        not_wanted = self._numbers.randrange(len(asked)) if self._numbers.random() < 0.4 else -1
        ends = ask_together(self._store, [each.request for each in asked], not_wanted)
        for number, (each, error) in enumerate(zip(asked, ends, strict=True)):
            self._check(each, error, number == not_wanted)
        names = (f"{each.request.operation.value} at {each.request.offset}" for each in asked)
        back = "" if not_wanted < 0 else f"; taken back: number {not_wanted}, {ends[not_wanted]!r}"
        return f"{len(asked[0].data)} bytes each, at once: {', '.join(names)}{back}"

    def _places(self) -> list[tuple[int, int]]:
        """Offsets and lengths in bytes."""
        blocks = self._store.size // self._block_size
        length = self._numbers.randint(1, min(_LONGEST, blocks))
        count = min(self._numbers.randint(2, _MOST), blocks // length)
        size = length * self._block_size
        return [(place * size, size) for place in self._numbers.sample(range(blocks // length), count)]

    def _ask(self, offset: int, length: int) -> _Asked:
        kinds = [kind for kind in KINDS if kind in self._store.asynchronous]
        if self._numbers.choice(kinds) is Operation.READ:
            data = bytearray(b"\xa5" * length)
            return _Asked(read_request(offset, memoryview(data)), data)
        data = bytearray(self._numbers.randbytes(16) * (length // 16))
        return _Asked(write_request(offset, memoryview(data), self._numbers.random() < 0.2), data)

    def _check(self, asked: _Asked, error: BaseException | None, not_wanted: bool) -> None:
        request = asked.request
        begin, end = request.offset, request.offset + request.length
        old = bytes(self._content[begin:end])
        if error is not None and not not_wanted:
            raise error
        if request.operation is Operation.READ:
            assert error is not None or asked.data == old, f"a read at {begin} beside others has other bytes"
        elif error is None:
            self._content[begin:end] = asked.data
        elif not isinstance(error, TakenBackError):
            self._content[begin:end] = self._half_done(begin, old, bytes(asked.data))
        found = read(self._store, begin, end - begin)
        assert found == self._content[begin:end], f"{request.operation.value} at {begin}, then {error!r}: other bytes"

    def _half_done(self, begin: int, old: bytes, new: bytes) -> bytes:
        """What a write has left that was not wanted any more and failed: each block as it was, or as it was to be."""
        found = read(self._store, begin, len(old))
        for at in range(0, len(old), self._block_size):
            block = found[at : at + self._block_size]
            expected = (old[at : at + self._block_size], new[at : at + self._block_size])
            assert block in expected, f"a write at {begin} that failed has left neither of both at {begin + at}"
        return found
