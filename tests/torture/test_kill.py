"""A server that is killed loses nothing that it has answered: every store and filter, caches, block sizes, commands.

One round each here, and of some also with data threads and with the data path in Python; ``make torture`` plays more
(ISCSITOOLS_TORTURE, ISCSITOOLS_SEED), each store in all three ways.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.native import needs_data_threads
from support.target import start_target

from iscsitools.initiator import Session

from .load import EVERY, PLAIN, Ledger, Load, read_all, seeds

IQN = "iqn.2026-11.example:torture"
ROUNDS = int(os.environ.get("ISCSITOOLS_TORTURE", "1"))
SIZE = 1 << 20
PATIENCE = 60
"""Seconds until a server is killed that no data thread serves."""
STACKS = (
    "file:{dir}/disk",
    "file:{dir}/disk,cache=writethrough",
    "file:{dir}/disk,block_size=4096",
    "file:{dir}/disk,direct=yes,block_size=4096",
    "file+delay:{dir}/disk,delay.write=1ms",
    "file+powerloss:{dir}/disk,powerloss.memory=64K",
    "file+cow:{dir}/base,cow.file={dir}/overlay",
    "file+cow:{dir}/base,cow.file={dir}/overlay,cache=writethrough,block_size=4096",
    "file+cow+delay:{dir}/base,cow.file={dir}/overlay,delay.flush=5ms",
)
IN_THREADS = (STACKS[0], STACKS[2], STACKS[3])
"""What data threads serve; of the others every connection that writes stays with the event loop."""
USUAL = [("auto", "1", stack) for stack in STACKS]
ALSO = [(*way, stack) for way in (("auto", "2"), ("python", "1")) for stack in (STACKS if ROUNDS > 1 else STACKS[:4])]


def clear(session: Session) -> None:
    for _ in range(3):
        session.command(bytes(6))


def in_a_data_thread(pid: int) -> bool:
    """Whether a thread beside the event loop, which always has the listener, waits for a socket."""
    waiting = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(each) == "anon_inode:[eventpoll]":
            watched = re.findall(r"^tfd: +(\d+)", Path(f"/proc/{pid}/fdinfo/{each.name}").read_text(), re.MULTILINE)
            waiting += any(os.readlink(each.parent / number).startswith("socket:") for number in watched)
    return waiting > 1


class Killer(threading.Thread):
    """Kill a server in some time, and then not before a data thread has the connection, if it is to be there."""

    def __init__(self, pid: int, seconds: float, in_thread: bool) -> None:
        super().__init__()
        self.found = not in_thread
        self._pid = pid
        self._seconds = seconds
        self.start()

    def run(self) -> None:
        time.sleep(self._seconds)
        until = time.monotonic() + PATIENCE
        try:
            while not self.found and time.monotonic() < until:
                time.sleep(0.001)
                with suppress(FileNotFoundError):  # a descriptor that was closed while it was looked at
                    self.found = in_a_data_thread(self._pid)
        finally:
            os.kill(self._pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", seeds(ROUNDS))
@pytest.mark.parametrize(("data_path", "threads", "stack"), [*USUAL, *ALSO])
def test_what_was_answered_survives_a_kill(data_path: str, threads: str, stack: str, seed: int, tmp_path: Path) -> None:
    if threads != "1":
        needs_data_threads()
    print(f"seed {seed}, {stack}, data path {data_path}, threads {threads}")
    numbers = random.Random(seed)
    content = numbers.randbytes(4096) * (SIZE // 4096)
    for name in ("disk", "base"):
        (tmp_path / name).write_bytes(content)
    size = 4096 if "block_size=4096" in stack else 512
    spec = stack.format(dir=tmp_path) + ",thin=yes"
    how = ("--provider", "none", "--data-path", data_path, "--threads", threads)
    arguments = ("--iqn", IQN, "--lun", spec, *how)
    ledger = Ledger([content[at : at + size] for at in range(0, SIZE, size)])
    for life in range(3):
        in_thread = threads != "1" and stack in IN_THREADS and life != 1
        with start_target(tmp_path, *arguments) as target, Session.connect(target.addresses[0], IQN) as session:
            clear(session)
            assert ledger.wrong(read_all(session, len(ledger.blocks), size)) == [], f"seed {seed}, life {life}"
            ledger.blocks = read_all(session, len(ledger.blocks), size)  # what was on its way is what it is now
            ledger.on_the_way.clear()
            killer = Killer(target.pid, numbers.uniform(0.05, 0.4), in_thread)
            Load(session, ledger, size, numbers.randrange(1 << 30), PLAIN if in_thread else EVERY).run()
            killer.join()
            target.kill()
        assert killer.found, f"seed {seed}, life {life}: no data thread served"
    assert ledger.answered > 0
    with start_target(tmp_path, *arguments) as target, Session.connect(target.addresses[0], IQN) as session:
        clear(session)
        assert ledger.wrong(read_all(session, len(ledger.blocks), size)) == [], f"seed {seed}, at the end"
