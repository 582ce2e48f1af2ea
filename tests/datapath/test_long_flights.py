"""READs of more than 64 KiB, and WRITEs whose data comes in whatever way, that wait for the disk as no tasks."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.harness import eventually
from support.native import needs_data_path, needs_ring

from iscsitools.backstores.shortcut import FLIGHTS
from iscsitools.initiator import Session, Task
from iscsitools.testing.serving import IQN, Served, serve

from . import held_disk
from .held_disk import STORES

BLOCK = 4096
SLOT = 64
SLOTS = 16
FUA = 8
TUR, SYNC = bytes(6), bytes([0x35]) + bytes(9)
KEYS: dict[str, dict[str, str]] = {
    "immediate": {},
    "asked": {"ImmediateData": "No", "InitialR2T": "Yes", "MaxOutstandingR2T": "2", "MaxBurstLength": "65536"},
    "unasked": {"ImmediateData": "No", "InitialR2T": "No", "FirstBurstLength": "65536"},
    "beginning": {"ImmediateData": "Yes", "InitialR2T": "Yes", "FirstBurstLength": "16384"},
}


@pytest.fixture(autouse=True)
def ring_and_path() -> None:
    needs_data_path()
    needs_ring()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"o" * (SLOTS * SLOT * BLOCK))
    return path


@pytest.fixture
def served(in_thread: bool, disk: Path) -> Iterator[Served]:
    """All of it waits for the disk, and no call of the system for it is made on the spot."""
    with serve(f"held:{disk},block_size={BLOCK}", plugins=(held_disk,)) as served:
        yield served


def cdb(code: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBQIBB", code, flags, lba, blocks, 0, 0)


def settled(served: Served, session: Session, in_thread: bool) -> None:
    """Its gate is open, and who is to serve the connection does."""
    session.command(TUR)
    threads = served._server.connections.threads

    def is_there() -> bool:
        assert session.command(cdb(0x88, 9, 1), read=BLOCK).good
        return not in_thread or (threads is not None and sum(thread.guests for thread in threads.threads) == 1)

    eventually(is_there)


def taken(served: Served) -> int:
    """PDUs that were left to the requests' side."""
    (tcp,) = served._server.connections.tcp.values()
    return int(tcp.conn.taken)


def wave(session: Session, rng: random.Random, content: list[bytes], fua: bool) -> None:
    """A command in each slot, all at once."""
    wanted: list[tuple[Task, bytes | None]] = []
    for slot in rng.sample(range(SLOTS), SLOTS):
        count = rng.choice((1, 4, 16, 17, 32, 48, 64))
        lba = slot * SLOT + rng.randrange(SLOT - count + 1)
        flags = FUA * (fua and rng.random() < 0.3)
        if rng.random() < 0.5:
            data = rng.randbytes(count * BLOCK)
            wanted.append((session.start_command(cdb(0x8A, lba, count, flags), write=data), None))
            content[lba : lba + count] = [data[n * BLOCK :][:BLOCK] for n in range(count)]
        else:
            task = session.start_command(cdb(0x88, lba, count), read=count * BLOCK)
            wanted.append((task, b"".join(content[lba : lba + count])))
    for task, expected in wanted:
        result = session.wait(task)
        assert result.good
        assert expected is None or result.data == expected


@pytest.mark.parametrize("digests", ["None", "CRC32C"])
@pytest.mark.parametrize("keys", KEYS)
def test_none_of_them_is_a_task(served: Served, in_thread: bool, disk: Path, keys: str, digests: str) -> None:
    content = [b"o" * BLOCK] * (SLOTS * SLOT)
    wanted = dict(KEYS[keys])
    if digests != "None":
        wanted.pop("MaxBurstLength", None)  # READs in several parts with digests are the requests' side's
    with Session.connect(served.address, IQN, keys=wanted, digests=digests) as session:
        settled(served, session, in_thread)
        before = taken(served)
        for seed in range(6):
            wave(session, random.Random(seed), content, fua=keys == "immediate")
        assert taken(served) == before
        assert STORES[-1]._words[FLIGHTS] == 0
        assert session.command(SYNC).good
    assert disk.read_bytes() == b"".join(content)


def test_more_than_their_memory_holds(served: Served, in_thread: bool, disk: Path) -> None:
    """Of 12 MiB at once that more than 8 MiB are read for, the rest are tasks."""
    content = random.Random(1).randbytes(SLOTS * SLOT * BLOCK)
    disk.write_bytes(content)
    with Session.connect(served.address, IQN) as session:
        settled(served, session, in_thread)
        for _ in range(3):
            lbas = [16 * number for number in range(48)]
            tasks = [session.start_command(cdb(0x88, lba, SLOT), read=SLOT * BLOCK) for lba in lbas]
            for lba, task in zip(lbas, tasks, strict=True):
                assert session.wait(task).data == content[lba * BLOCK :][: SLOT * BLOCK]
        assert STORES[-1]._words[FLIGHTS] == 0


def begin_long_read(session: Session, held: Any) -> Task:
    """A READ of 256 KiB that is in the air until it is released."""
    held.divert()
    task = session.start_command(cdb(0x88, 0, SLOT), read=SLOT * BLOCK)
    eventually(lambda: STORES[-1].flights == 1)
    held.back()
    return task


@pytest.mark.parametrize("how", ["answered", "looked at", "nothing there", "closed"])
def test_how_a_long_one_ends(served: Served, in_thread: bool, how: str) -> None:
    """Its first block comes from the pipe, and the rest, which it goes on with, from the file."""
    with STORES[-1].held() as held, Session.connect(served.address, IQN) as session:
        settled(served, session, in_thread)
        task = begin_long_read(session, held)
        if how == "closed":
            session.close()
            held.release(b"p" * BLOCK)
            eventually(lambda: STORES[-1].flights == 0)
            return
        if how == "looked at":
            assert session.command(TUR).good
        write = session.start_command(cdb(0x8A, SLOT - 1, 2), write=b"w" * (2 * BLOCK))
        held.release(b"" if how == "nothing there" else b"p" * BLOCK)
        result = session.wait(task)
        if how == "nothing there":
            assert result.sense_code[:2] == (3, 0x11)  # MEDIUM ERROR, UNRECOVERED READ ERROR
        else:
            assert result.data == b"p" * BLOCK + b"o" * ((SLOT - 1) * BLOCK)
        assert session.wait(write).good
        assert session.command(cdb(0x88, SLOT - 1, 2), read=2 * BLOCK).data == b"w" * (2 * BLOCK)
        assert STORES[-1].flights == 0
