"""A server that is killed loses nothing that it has answered: every store and filter, caches, block sizes, commands.

One round each here, and with data threads of the stores that those serve; ``make torture`` plays more
(ISCSITOOLS_TORTURE, ISCSITOOLS_SEED), each store with one thread and with two.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from support.native import needs_data_threads
from support.target import start_target

from iscsitools.initiator import Session

from .load import Ledger, Load, read_all, seeds

IQN = "iqn.2026-11.example:torture"
ROUNDS = int(os.environ.get("ISCSITOOLS_TORTURE", "1"))
SIZE = 1 << 20
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
THREADED = [(stack, "2") for stack in (STACKS if ROUNDS > 1 else STACKS[:4])]
"""``file`` by itself is served by data threads; of the others every connection stays with the event loop."""


def clear(session: Session) -> None:
    for _ in range(3):
        session.command(bytes(6))


@pytest.mark.parametrize("seed", seeds(ROUNDS))
@pytest.mark.parametrize(("stack", "threads"), [*((stack, "1") for stack in STACKS), *THREADED])
def test_what_was_answered_survives_a_kill(stack: str, seed: int, threads: str, tmp_path: Path) -> None:
    if threads != "1":
        needs_data_threads()
    print(f"seed {seed}, {stack}, threads {threads}")
    numbers = random.Random(seed)
    content = numbers.randbytes(4096) * (SIZE // 4096)
    for name in ("disk", "base"):
        (tmp_path / name).write_bytes(content)
    size = 4096 if "block_size=4096" in stack else 512
    spec = stack.format(dir=tmp_path) + ",thin=yes"
    arguments = ("--iqn", IQN, "--lun", spec, "--provider", "none", "--threads", threads)
    ledger = Ledger([content[at : at + size] for at in range(0, SIZE, size)])
    for life in range(3):
        target = start_target(tmp_path, *arguments)
        with Session.connect(target.addresses[0], IQN) as session:
            clear(session)
            assert ledger.wrong(read_all(session, len(ledger.blocks), size)) == [], f"seed {seed}, life {life}"
            ledger.blocks = read_all(session, len(ledger.blocks), size)  # what was on its way is what it is now
            ledger.on_the_way.clear()
            timer = threading.Timer(numbers.uniform(0.05, 0.4), target.process.kill)
            timer.start()
            Load(session, ledger, size, numbers.randrange(1 << 30)).run()
            timer.join()
        target.kill()
    assert ledger.answered > 0
    with start_target(tmp_path, *arguments) as target, Session.connect(target.addresses[0], IQN) as session:
        clear(session)
        assert ledger.wrong(read_all(session, len(ledger.blocks), size)) == [], f"seed {seed}, at the end"
