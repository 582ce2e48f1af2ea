"""Several sessions read and write the same blocks at depth: every block behaves as if one command came after another.

Each write fills its blocks with a stamp of its own, so what a read returns says which write it saw. A block that holds
two stamps is torn. The history of a block is linearizable when its *zones* do not cross (Gibbons and Korach, "Testing
Shared Memories", 1997): the zone of the operations of one stamp, its write and its reads, goes from the first end to
the last beginning.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from support import no_uring
from support.target import start_target

from iscsitools.backstores.direct import direct_alignment
from iscsitools.initiator import Session, Task

IQN = "iqn.2026-11.example:linear"
BLOCK = 512
HOT = 48
"""Blocks that all sessions fight for; they cross pages in odd places."""
FIRST = 5
CONTESTED = 2
"""Of these, the blocks that COMPARE AND WRITE fights for."""
SESSIONS, DEPTH, COMMANDS = 4, 8, 250
GOOD, MISCOMPARE = 0, 0xE


class Operation(NamedTuple):
    """One block's part of a command. Times in ns; ``write``: it made the stamp."""

    begin: int
    end: int
    write: bool


@dataclass
class History:
    """What happened to each block, by stamp; filled by all sessions."""

    operations: dict[int, dict[int, list[Operation]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    swapped: list[tuple[int, int]] = field(default_factory=list)
    """(block, the stamp that a COMPARE AND WRITE replaced)."""
    torn: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stamps: int = 0

    def stamp(self) -> int:
        """A new one."""
        with self.lock:
            self.stamps += 1
            return self.stamps

    def add(self, block: int, stamp: int, begin: int, end: int, write: bool) -> None:
        with self.lock:
            self.operations[block][stamp].append(Operation(begin, end, write))

    def errors(self) -> list[str]:
        """What no order of the commands explains."""
        found = list(self.torn)
        for block, by_stamp in sorted(self.operations.items()):
            by_stamp[0].append(Operation(-2, -1, True))  # the blocks are zeros before the first write
            found += [f"block {block}: {error}" for error in _crossings(by_stamp)]
        twice = {pair for pair in self.swapped if self.swapped.count(pair) > 1}
        return found + [f"block {block}: stamp {stamp} was replaced twice" for block, stamp in twice]


def _crossings(by_stamp: dict[int, list[Operation]]) -> list[str]:
    found, forward, backward = [], [], []
    for stamp, operations in by_stamp.items():
        writes = [operation for operation in operations if operation.write]
        if len(writes) != 1:
            found.append(f"stamp {stamp} was read and never written")
            continue
        if min(operation.end for operation in operations) < writes[0].begin:
            found.append(f"stamp {stamp} was read before it was written")
        low = min(operation.end for operation in operations)
        high = max(operation.begin for operation in operations)
        (forward if low < high else backward).append((min(low, high), max(low, high), stamp))
    forward.sort()
    for (_, high, stamp), (low, _, other) in itertools.pairwise(forward):
        if low < high:
            found.append(f"stamps {stamp} and {other} come and go")
    for low, high, stamp in backward:
        for begin, end, other in forward:
            if begin < low and high < end:
                found.append(f"stamp {stamp} came and went while {other} was there")
    return found


def filled(stamp: int) -> bytes:
    return struct.pack(">Q", stamp) * (BLOCK // 8)


class Client:
    """One session, which keeps ``DEPTH`` commands under way."""

    def __init__(self, session: Session, history: History, seed: int) -> None:
        self.session = session
        self.history = history
        self.rng = random.Random(seed)
        self.running: list[tuple[Task, int, Callable[[Task, int, int], None]]] = []
        self.last: dict[int, int] = {}

    def run(self) -> None:
        for _ in range(COMMANDS):
            self.start()
            while len(self.running) >= DEPTH:
                self.pump()
        while self.running:
            self.pump()

    def pump(self) -> None:
        self.session.pump()
        now = time.monotonic_ns()
        for task, begin, ended in self.running:
            if task.result is not None:
                ended(task, begin, now)
        self.running = [entry for entry in self.running if entry[0].result is None]

    def start(self) -> None:
        count = self.rng.choice((1, 1, 2, 8, 9, 24))
        lba = FIRST + self.rng.randrange(HOT - count + 1)
        kind = self.rng.choice(("read", "read", "read", "write", "write and verify", "same", "swap", "swap"))
        begin = time.monotonic_ns()
        task, ended = getattr(self, kind.partition(" ")[0])(lba, count, kind)
        self.running.append((task, begin, ended))

    def read(self, lba: int, count: int, kind: str) -> tuple[Task, Callable[[Task, int, int], None]]:
        def ended(task: Task, begin: int, end: int) -> None:
            assert task.result.status == GOOD
            for index in range(count):
                data = task.result.data[index * BLOCK :][:BLOCK]
                (stamp,) = struct.unpack_from(">Q", data)
                if data != filled(stamp):
                    self.history.torn.append(f"block {lba + index} is torn")
                self.history.add(lba + index, stamp, begin, end, False)
                self.last[lba + index] = stamp

        return self.session.start_command(cdb16(0x88, lba, count), read=count * BLOCK), ended

    def write(self, lba: int, count: int, kind: str) -> tuple[Task, Callable[[Task, int, int], None]]:
        stamps = [self.history.stamp() for _ in range(count)]
        way = self.rng.random() < 0.7
        task = self.session.start_command(
            cdb16(0x8E if "verify" in kind else 0x8A, lba, count, fua=8 * (self.rng.random() < 0.2)),
            write=b"".join(map(filled, stamps)),
            immediate=way,
            unsolicited=way,
        )
        return task, self.wrote(lba, stamps)

    def same(self, lba: int, count: int, kind: str) -> tuple[Task, Callable[[Task, int, int], None]]:
        stamp = self.history.stamp()
        task = self.session.start_command(cdb16(0x93, lba, count), write=filled(stamp))
        return task, self.wrote(lba, [stamp] * count)

    def wrote(self, lba: int, stamps: list[int]) -> Callable[[Task, int, int], None]:
        def ended(task: Task, begin: int, end: int) -> None:
            assert task.result.status == GOOD
            for index, stamp in enumerate(stamps):
                self.history.add(lba + index, stamp, begin, end, True)

        return ended

    def swap(self, lba: int, count: int, kind: str) -> tuple[Task, Callable[[Task, int, int], None]]:
        lba = FIRST + lba % CONTESTED
        old, new = self.last.get(lba, 0), self.history.stamp()
        cdb = struct.pack(">BBQ3xBBx", 0x89, 0, lba, 1, 0)

        def ended(task: Task, begin: int, end: int) -> None:
            if task.result.status == GOOD:
                self.history.add(lba, old, begin, end, False)
                self.history.add(lba, new, begin, end, True)
                self.history.swapped.append((lba, old))
            else:
                assert task.result.sense[2] == MISCOMPARE
                self.last.pop(lba, None)

        return self.session.start_command(cdb, write=filled(old) + filled(new)), ended


def cdb16(opcode: int, lba: int, count: int, fua: int = 0) -> bytes:
    return struct.pack(">BBQIBB", opcode, 0 if opcode == 0x8E else fua, lba, count, 0, 0)


STORES = {
    "cached": "file:{disk},size=64K",
    "cold": "file:{disk},size=64K",
    "direct": "file:{disk},size=64K,direct=yes",
    "direct by threads": "file:{disk},size=64K,direct=yes",
    "writethrough": "file:{disk},size=64K,cache=writethrough",
    "slow": "file+delay:{disk},size=64K,delay.read=1ms,delay.write=1ms",
    "ram": "ram:64K",
    "cow": "file+cow:{disk},size=64K,cow.file={disk}.cow",
}


def needs_direct_io(disk: Path) -> None:
    """Skip where blocks of this size cannot pass by the page cache."""
    try:
        fd = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        pytest.skip(f"O_DIRECT: {error}")
    alignment = direct_alignment(fd)
    os.close(fd)
    if not 0 < alignment <= BLOCK:
        pytest.skip(f"O_DIRECT here wants {alignment} bytes")


@pytest.mark.parametrize("store", STORES)
def test_sessions_see_one_order(tmp_path: Path, store: str) -> None:
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    history = History()
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(64 << 10))
    if "direct" in store:
        needs_direct_io(disk)
    prefix = no_uring.PREFIX if "threads" in store else ()
    with start_target(tmp_path, "--iqn", IQN, "--lun", STORES[store].format(disk=disk), prefix=prefix) as target:
        sessions = [Session.connect(target.addresses[0], IQN, isid=0x400001370000 + n) for n in range(SESSIONS)]
        for session in sessions:
            session.read_capacity()
        clients = [Client(session, history, seed + n) for n, session in enumerate(sessions)]
        failures: list[BaseException] = []
        threads = [threading.Thread(target=_guarded, args=(client, failures)) for client in clients]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if store == "cold":  # reads of what is not in the page cache go through threads
                with disk.open("rb") as file:
                    os.fdatasync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            time.sleep(0.01)
        for session in sessions:
            session.close()
    assert failures == [], target.output
    assert history.errors() == []
    assert history.swapped


def _guarded(client: Client, failures: list[BaseException]) -> None:
    try:
        client.run()
    except BaseException as error:
        failures.append(error)


def made(*operations: tuple[int, int, int, bool]) -> list[str]:
    history = History()
    for stamp, begin, end, write in operations:
        history.add(0, stamp, begin, end, write)
    return history.errors()


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        ([(1, 0, 5, True), (1, 6, 7, False), (2, 6, 9, True), (2, 10, 11, False)], ""),
        ([(1, 0, 5, True), (0, 1, 4, False), (1, 2, 6, False)], ""),
        ([(1, 0, 5, True), (0, 6, 7, False)], "came and went"),  # what was overwritten is read again
        ([(1, 0, 5, True), (1, 6, 7, False), (0, 8, 9, False)], "come and go"),
        ([(1, 0, 9, True), (1, 1, 2, False), (0, 3, 4, False)], "came and went"),  # new, then old, in one write
        ([(2, 0, 1, False)], "never written"),
        ([(1, 5, 9, True), (1, 1, 2, False)], "before it was written"),
        ([(1, 0, 1, True), (1, 8, 9, False), (2, 3, 4, True)], "came and went"),
    ],
)
def test_the_check_itself(operations: list[tuple[int, int, int, bool]], error: str) -> None:
    errors = made(*operations)
    assert error in "".join(errors)
    assert bool(errors) == bool(error)
