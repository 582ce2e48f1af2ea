"""Servers whose connections data threads have, and a load on them, for tests."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable

from iscsitools.initiator import Session
from iscsitools.wire.scsi import Status

from .harness import Running, eventually

BLOCKS = 8
MORE = "threads = 2"
ASKED = {"ImmediateData": "No", "InitialR2T": "Yes"}


def lent(server: Running, count: int) -> None:
    """Wait until so many connections are with data threads."""
    threads = server.server.connections.threads
    assert threads is not None
    eventually(lambda: sum(thread.guests for thread in threads.threads) == count, f"{count} connections in threads")


def read_until_lent(server: Running, sessions: list[Session]) -> None:
    for session in sessions:
        for _ in range(3):
            session.write(0, bytes(4096))
            session.read(0, BLOCKS)
    threads = server.server.connections.threads
    assert threads is not None

    def all_lent() -> bool:
        for session in sessions:
            session.read(0, BLOCKS)
        return sum(thread.guests for thread in threads.threads) == len(sessions)

    eventually(all_lent, "all connections in threads")


def on_loop(server: Running, call: Callable[[], object]) -> None:
    """Have something done on the loop's thread."""
    done = threading.Event()

    def do() -> None:
        call()
        done.set()

    server.server.loop.call_soon(do)
    assert done.wait(60)


class Load:
    """Sessions that write and read blocks of their own, each in a thread; they compare what they read."""

    def __init__(self, server: Running, count: int, keys: dict[str, str] | None = None) -> None:
        self.sessions = [server.connect(name=f"load{number}", keys=keys) for number in range(count)]
        self.ends = False
        self.done = [0] * count
        self.refused = [0] * count
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guard, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _guard(self, number: int) -> None:
        try:
            self._work(number)
        except BaseException as error:
            self.errors.append(error)

    def _work(self, number: int) -> None:
        session, rng, known = self.sessions[number], random.Random(number), dict[int, bytes]()
        while not self.ends:
            lba = number * 4096 + rng.randrange(64) * BLOCKS
            if rng.random() < 0.5:
                data = rng.randbytes(16) * (BLOCKS * 32)
                cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, BLOCKS, 0)
                result = session.command(cdb, write=data)
                if result.status == Status.GOOD:
                    known[lba] = data
            else:
                result = session.command(struct.pack(">BBIBHB", 0x28, 0, lba, 0, BLOCKS, 0), read=BLOCKS * 512)
                if result.status == Status.GOOD and lba in known:
                    assert result.data == known[lba]
            self.done[number] += 1
            self.refused[number] += result.status != Status.GOOD

    def goes_on(self, more: int) -> None:
        """Wait until each session has done so many commands more."""
        wanted = [done + more for done in self.done]
        eventually(
            lambda: all(done >= least for done, least in zip(self.done, wanted, strict=True)), "the load goes on"
        )

    def end(self) -> None:
        self.ends = True
        for thread in self._threads:
            thread.join()
        assert not self.errors, self.errors
        for session in self.sessions:
            session.logout()
