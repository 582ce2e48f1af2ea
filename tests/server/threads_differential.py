"""The same commands to servers with one thread and with two: every answer has to be the same, and the disks at the end.

    python tests/server/threads_differential.py [--seconds N] [--first N]

Each server has two sessions, over sockets, as connections go to data threads and come back. A step is done to all
servers: some commands at a time on one session, on blocks of their own where they are under way together. What is
compared is what an initiator sees of them: status, sense, residual, data. A round is made of its seed, which a
difference is reported with; the whole of it is kept in ``build/twins``. The first server has the data path in Python.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.kept import keep

from iscsitools.initiator import Session
from server.harness import Running, make_server, one_target

SIZE = 8 << 20
BLOCK = 512
SLOTS = 8
SLOT = SIZE // BLOCK // SLOTS
STEPS = 80
SERVERS = ('data_path = "python"', 'data_path = "native"', 'data_path = "native"\nthreads = 2')
KEYS: tuple[dict[str, str], ...] = (
    {},
    {"ImmediateData": "No", "InitialR2T": "Yes"},
    {"ImmediateData": "Yes", "InitialR2T": "No", "FirstBurstLength": "4096", "MaxBurstLength": "8192"},
    {"ImmediateData": "No", "InitialR2T": "No", "FirstBurstLength": "1024", "MaxOutstandingR2T": "4"},
)
DIGESTS = ("None", "CRC32C")
LENGTHS = (1, 1, 7, 8, 8, 8, 16, 64, 128, 255, 512, 600)
SIMPLE, ORDERED, HEAD_OF_QUEUE = 1, 2, 3


def read_write(rng: random.Random, slot: int) -> dict[str, Any]:
    """A READ or a WRITE in one slot; some reach behind the end of the disk, some have flags or another attribute."""
    count = rng.choice(LENGTHS)
    lba = slot * SLOT + rng.randrange(SLOT - count)
    if rng.random() < 0.03:
        lba = SIZE // BLOCK - rng.randrange(2)
    writes = rng.random() < 0.5
    flags = rng.choice((0, 0, 0, 0, 0, 0x10, 0x08))
    cdb = struct.pack(">BBIBHB", 0x2A if writes else 0x28, flags, lba, 0, count, 0)
    if rng.random() < 0.2:
        cdb = struct.pack(">BBQIBB", 0x8A if writes else 0x88, flags, lba, count, 0, 0)
    attribute = ORDERED if rng.random() < 0.03 else HEAD_OF_QUEUE if rng.random() < 0.02 else SIMPLE
    data = {"write": rng.randbytes(16) * (count * BLOCK // 16)} if writes else {"read": count * BLOCK}
    return {"cdb": cdb, "attribute": attribute, **data}


def other(rng: random.Random) -> dict[str, Any]:
    """A command that no data thread serves."""
    cdb, read = rng.choice(
        ((bytes(6), 0), (b"\x12\0\0\0\x60\0", 96), (b"\x25" + bytes(9), 8), (b"\x1a\x08\x3f\0\xff\0", 255),
         (b"\x35" + bytes(9), 0), (b"\xc7" + bytes(9), 0), (b"\x28" + bytes(8) + b"\xff", 0))
    )  # fmt: skip
    return {"cdb": cdb, "read": read}


def step(rng: random.Random) -> list[dict[str, Any]]:
    """Commands that are under way together."""
    slots = rng.sample(range(SLOTS), rng.choice((1, 1, 2, 4, 8)))
    commands = [read_write(rng, slot) for slot in slots]
    if rng.random() < 0.1:
        commands.insert(rng.randrange(len(commands) + 1), other(rng))
    return commands


def do(session: Session, commands: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Send them and wait for all; what an initiator sees."""
    tasks = [session.start_command(**command) for command in commands]
    results = [session.wait(task) for task in tasks]
    return [(each.status, each.response, each.sense, each.residual, each.data) for each in results]


class Difference(Exception):
    """Two servers did not answer the same, or one not at all."""


def run_round(seed: int, folder: Path) -> int:
    """Some steps on new servers; how often one of two threads had a connection after a step.

    Raises Difference with the seed.
    """
    try:
        return _steps(seed, folder)
    except Exception as error:
        raise Difference(f"seed {seed}: {type(error).__name__}: {error}") from error


def _steps(seed: int, folder: Path) -> int:
    rng = random.Random(seed)
    lent = 0
    with ExitStack() as stack:
        servers: list[Running] = []
        for number, more in enumerate(SERVERS):
            own = folder / f"{seed}-{number}"
            own.mkdir()
            # Written, so that its pages are there: a connection that waits for the disk goes back to the loop.
            (own / "disk").write_bytes(bytes(SIZE))
            store = (f"file:{own}/disk", "ram:8M", f"file:{own}/disk,direct=yes")[seed % 3]
            text = one_target(store, more=f'{more}\nname = "twin{number}-{os.getpid()}"')
            servers.append(Running(make_server(own, text)))
            stack.callback(servers[-1].end)
        how = [{"keys": rng.choice(KEYS), "digests": rng.choice(DIGESTS)} for _ in "ab"]
        pairs = [[server.connect(name=f"{n}", **how[n]) for n in (0, 1)] for server in servers]
        threads = servers[-1].server.connections.threads
        assert threads is not None
        for number in range(STEPS):
            which, commands = rng.randrange(2), step(rng)
            answers = [do(pair[which], commands) for pair in pairs]
            for more, answer in zip(SERVERS[1:], answers[1:], strict=True):
                for command, one, two in zip(commands, answers[0], answer, strict=True):
                    if one != two:
                        raise Difference(f"step {number}, {more!r}: {command['cdb'].hex()}: {one} {two}")
            lent += sum(thread.guests for thread in threads.threads) > 0
        disks = [b"".join(pair[0].read(slot * SLOT, SLOT) for slot in range(SLOTS)) for pair in pairs]
        if len(set(disks)) != 1:
            raise Difference("the disks differ")
        for session in (session for pair in pairs for session in pair):
            session.logout()
    return lent


def main() -> int:
    """Rounds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--first", "--seed", dest="seed", type=int, default=time.time_ns() % 1_000_000,
        help="the seed of the first round, one more for each next (default: any)",
    )  # fmt: skip
    wanted = parser.parse_args()
    until = time.monotonic() + wanted.seconds
    seed, lent = wanted.seed, 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until or seed == wanted.seed:
            try:
                lent += run_round(seed, Path(folder))
            except Difference as error:
                again = f"python tests/server/threads_differential.py --seconds 0 --first {seed}"
                print(keep("threads", seed, again, error))
                return 1
            seed += 1
    print(f"no difference in {seed - wanted.seed} rounds from seed {wanted.seed}; in threads after {lent} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
