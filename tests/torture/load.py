"""A load that remembers what it was answered, and what each block of the disk may be when the server is gone."""

from __future__ import annotations

import os
import random
import struct
from dataclasses import dataclass, field

from iscsitools.initiator import ConnectionClosedError, Session, Task

GOOD = 0
EVERY = ("write", "write", "write", "fua", "unmap", "same", "zero", "compare")
PLAIN = ("write", "write", "write", "fua")
"""Nothing else keeps a connection with the data thread that serves it: half of ``EVERY`` is for the event loop."""


@dataclass
class Ledger:
    """Per block: what was answered last, and what is on its way."""

    blocks: list[bytes]
    on_the_way: dict[int, bytes] = field(default_factory=dict)
    answered: int = 0

    def wrong(self, found: list[bytes]) -> list[int]:
        """The blocks that are neither of both, by sectors of 512 bytes: a command that had no answer may be torn."""
        return [n for n, content in enumerate(found) if not self._may_be(n, content)]

    def _may_be(self, number: int, content: bytes) -> bool:
        allowed = [self.blocks[number]]
        if number in self.on_the_way:
            allowed.append(self.on_the_way[number])
        if content in allowed:
            return True
        return all(
            any(content[at : at + 512] == each[at : at + 512] for each in allowed) for at in range(0, len(content), 512)
        )


class Load:
    """Commands of ``kinds`` at random with ``depth`` of them under way, each on blocks of its own."""

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        block_size: int,
        seed: int,
        kinds: tuple[str, ...] = EVERY,
        depth: int = 6,
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._size = block_size
        self._numbers = random.Random(seed)
        self._kinds = kinds
        self._depth = depth
        self._running: list[tuple[Task, dict[int, bytes]]] = []

    def run(self) -> None:
        """Go on until the connection ends."""
        try:
            while True:
                while len(self._running) < self._depth and self._start():
                    pass
                task, content = self._running[0]
                result = self._session.wait(task)
                self._running.pop(0)
                assert result.status == GOOD, result
                self._answered(content)
        except (OSError, ConnectionClosedError):
            return

    def _answered(self, content: dict[int, bytes]) -> None:
        self._ledger.answered += 1
        for block, data in content.items():
            self._ledger.blocks[block] = data
            del self._ledger.on_the_way[block]

    def _start(self) -> bool:
        """Send a command to blocks that nothing is on its way to; False when those that were thought of are not."""
        numbers, ledger, size = self._numbers, self._ledger, self._size
        first = numbers.randrange(len(ledger.blocks))
        count = min(numbers.choice((1, 1, 2, 8)), len(ledger.blocks) - first)
        if any(block in ledger.on_the_way for block in range(first, first + count)):
            return not self._running
        kind = numbers.choice(self._kinds)
        if kind == "compare":
            count = 1
        data = numbers.randbytes(16) * (size // 16)
        if kind in ("unmap", "zero"):
            data = bytes(size)
        content = dict.fromkeys(range(first, first + count), data)
        cdb, out = self._command(kind, first, count, data)
        ledger.on_the_way.update(content)
        self._running.append((self._session.start_command(cdb, write=out), content))
        return True

    def _command(self, kind: str, first: int, count: int, data: bytes) -> tuple[bytes, bytes]:
        if kind == "compare":
            return struct.pack(">BBQ3xBBB", 0x89, 0, first, 1, 0, 0), self._ledger.blocks[first] + data
        if kind == "unmap":
            return struct.pack(">BB4xBHB", 0x42, 0, 0, 24, 0), struct.pack(">HH4xQI4x", 22, 16, first, count)
        if kind in ("same", "zero"):
            return struct.pack(">BBQIBB", 0x93, 0, first, count, 0, 0), data
        return struct.pack(">BBQIBB", 0x8A, 8 if kind == "fua" else 0, first, count, 0, 0), data * count


def read_all(session: Session, blocks: int, size: int) -> list[bytes]:
    """Every block of the disk, by READs of 64 KiB."""
    found: list[bytes] = []
    step = (64 << 10) // size
    for lba in range(0, blocks, step):
        count = min(step, blocks - lba)
        data = session.read(lba, count, block_size=size)
        found += [data[at : at + size] for at in range(0, len(data), size)]
    return found


def seeds(rounds: int) -> list[int]:
    """The seeds of this run: the first ones, and for more rounds than that what ISCSITOOLS_SEED says, and on."""
    first = int(os.environ.get("ISCSITOOLS_SEED", "1"))
    return list(range(first, first + rounds))
