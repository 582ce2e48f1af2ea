"""Numbered blocks: what may be on a disk after its power was cut, by what was answered as durable before."""

from __future__ import annotations

import itertools
import random
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from iscsitools.initiator import ConnectionClosedError, Result, Session, Task

GOOD = 0
FUA = 8
_STAMP = struct.Struct(">QQ")


def stamped(block: int, number: int, size: int) -> bytes:
    """The content of a block: its place and its number, again and again. Number 0 is a block never written: zeros."""
    return _STAMP.pack(block, number) * (size // _STAMP.size) if number else bytes(size)


@dataclass
class Sequences:
    """Per block, the newest number that is durable, and those that were sent after it, answered or not.

    ``durable_answers``: how many commands made something durable. ``lost``: blocks that a cut took newer writes from.
    """

    blocks: int
    size: int
    durable: dict[int, int] = field(default_factory=dict)
    sent: dict[int, list[int]] = field(default_factory=dict)
    durable_answers: int = 0
    lost: int = 0

    def send(self, block: int, number: int) -> None:
        """A write of this number is on its way."""
        self.sent.setdefault(block, []).append(number)

    def is_durable(self, numbers: dict[int, int]) -> None:
        """These numbers, by block, have been answered as durable: older ones cannot come back."""
        for block, number in numbers.items():
            if number > self.durable.get(block, 0):
                self.durable[block] = number
                self.sent[block] = [each for each in self.sent[block] if each > number]
        self.durable_answers += bool(numbers)

    def wrong(self, found: list[bytes]) -> list[str]:
        """What is on the disk and cannot be, a line per block: older than what is durable, torn, of another place."""
        lines = []
        for block, content in enumerate(found):
            durable, sent = self.durable.get(block, 0), self.sent.get(block, [])
            if not any(content == stamped(block, each, self.size) for each in (durable, *sent)):
                lines.append(f"block {block}: {content[:32].hex()}..., durable {durable}, sent after it {sent}")
        return lines

    def restart(self, found: list[bytes]) -> None:
        """Go on from what is on the disk: it was read from there after the power was back, so it is durable."""
        for block, content in enumerate(found):
            number = _STAMP.unpack_from(content)[1]
            self.lost += any(each > number for each in self.sent.get(block, []))
            self.durable[block] = number
        self.sent.clear()


class NumberedLoad:
    """Writes at random with ``depth`` of them under way, some with FUA, and a SYNCHRONIZE CACHE now and then.

    ``flushes``: False leaves those out. ``always_durable``: the disk has no write cache, so each answered write is
    durable. Once ``power_is_off`` is set, a command may fail.
    """

    def __init__(
        self, session: Session, ledger: Sequences, numbers: random.Random, always_durable: bool, flushes: bool = True
    ) -> None:
        self.something_is_durable = threading.Event()
        self.power_is_off = threading.Event()
        self.failure: Result | None = None
        self._session = session
        self._ledger = ledger
        self._numbers = numbers
        self._always_durable = always_durable
        self._flushes = flushes
        self._next = itertools.count(max(ledger.durable.values(), default=0) + 1)
        self._answered: dict[int, int] = {}
        self._busy: set[int] = set()
        self._running: list[tuple[Task, Callable[[], None]]] = []

    def run(self, depth: int = 6) -> None:
        """Go on until the connection ends, or a command fails."""
        try:
            while True:
                while len(self._running) < depth:
                    if self._flushes and self._numbers.random() < 0.05:
                        self._flush()
                    else:
                        self._write()
                task, answered = self._running.pop(0)
                result = self._session.wait(task)
                if result.status != GOOD:
                    self.failure = None if self.power_is_off.is_set() else result
                    return
                answered()
        except (OSError, ConnectionClosedError):
            return

    def _write(self) -> None:
        """Write one block or a few, none of which a write is on its way to: SIMPLE tasks have no order."""
        ledger, numbers = self._ledger, self._numbers
        count = numbers.choice((1, 1, 2, 8, 24))
        first = numbers.randrange(ledger.blocks - count)
        wanted = {block: next(self._next) for block in range(first, first + count)}
        if self._busy & wanted.keys():
            return
        self._busy |= wanted.keys()
        fua = numbers.random() < 0.1
        for block, number in wanted.items():
            ledger.send(block, number)
        data = b"".join(stamped(block, number, ledger.size) for block, number in wanted.items())
        cdb = struct.pack(">BBQIBB", 0x8A, FUA if fua else 0, first, count, 0, 0)

        def answered() -> None:
            self._busy -= wanted.keys()
            self._answered |= wanted
            if fua or self._always_durable:
                self._is_durable(wanted)

        self._running.append((self._session.start_command(cdb, write=data), answered))

    def _flush(self) -> None:
        """SYNCHRONIZE CACHE of the whole disk: what was answered before it is sent is durable when it is answered."""
        before = dict(self._answered)
        self._running.append(
            (self._session.start_command(struct.pack(">B15x", 0x91)), lambda: self._is_durable(before))
        )

    def _is_durable(self, numbers: dict[int, int]) -> None:
        self._ledger.is_durable(numbers)
        if numbers:
            self.something_is_durable.set()
