"""READs and WRITEs that wait for the disk, begun by the data path in C: who has to see them, and their order."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from server.harness import eventually, one_target, running
from support.native import needs_data_path, needs_ring

from iscsitools.backstores.shortcut import DURABLE_FLAGS, UNFLUSHED
from iscsitools.initiator import Session, Task
from iscsitools.testing.serving import IQN, Served, serve
from iscsitools.wire.scsi import ManagementFunction

from . import held_disk
from .held_disk import STORES, Held, HeldDisk

SIZE = 1 << 20
PIPED = b"p" * 4096
ORDERED, HEAD_OF_QUEUE = 2, 3
WRITE_SAME, VERIFY, TUR, SYNC = 0x93, 0x8F, bytes(6), bytes([0x35]) + bytes(9)


@pytest.fixture(autouse=True)
def ring_and_path() -> None:
    needs_data_path()
    needs_ring()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"o" * SIZE)
    return path


@pytest.fixture
def session(in_thread: bool, disk: Path) -> Iterator[Session]:
    with serve(f"held:{disk},block_size=4096", plugins=(held_disk,)) as served, served.connect() as session:
        session.command(TUR)
        assert session.command(read16(9, 1), read=4096).data == b"o" * 4096  # its gate is open
        if in_thread:
            be_lent(served, session)
        yield session


def be_lent(served: Served, session: Session) -> None:
    """A data thread has the connection."""
    threads = served._server.connections.threads
    assert threads is not None

    def is_lent() -> bool:
        session.command(read16(9, 1), read=4096)
        return sum(thread.guests for thread in threads.threads) == 1

    eventually(is_lent)


@pytest.fixture
def store(session: Session) -> HeldDisk:
    return STORES[-1]


@pytest.fixture
def held(store: HeldDisk) -> Iterator[Held]:
    with store.held() as held:
        yield held


def cdb(code: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([code, flags]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def read16(lba: int, blocks: int) -> bytes:
    return cdb(0x88, lba, blocks)


def write16(lba: int, blocks: int, fua: bool = False) -> bytes:
    return cdb(0x8A, lba, blocks, 8 * fua)


def begin_read(session: Session, store: HeldDisk, held: Held, lba: int) -> Task:
    """A READ of one block that is in the air."""
    held.divert()
    task = session.start_command(read16(lba, 1), read=4096)
    eventually(lambda: store.flights == 1)
    held.back()
    return task


def stays_open(session: Session, task: Task) -> bool:
    """Whether the command has no answer when a later one has."""
    session.nop(b"there?")
    return task.result is None


def test_answers_come_as_the_disk_brings_them(session: Session, store: HeldDisk, held: Held, disk: Path) -> None:
    slow = begin_read(session, store, held, 0)
    assert session.command(read16(1, 2), read=8192).data == b"o" * 8192
    assert session.command(write16(3, 1), write=b"w" * 4096).good
    assert disk.read_bytes()[3 * 4096 : 4 * 4096] == b"w" * 4096
    assert stays_open(session, slow)
    held.release(PIPED)
    assert session.wait(slow).data == PIPED
    assert store.flights == 0


def test_the_end_of_the_server_waits_for_what_is_in_the_ring(tmp_path: Path, disk: Path) -> None:
    with running(tmp_path, one_target(f"held:{disk},block_size=4096"), held_disk) as target:
        session = target.connect()
        assert session.command(read16(9, 1), read=4096).data == b"o" * 4096
        store = STORES[-1]
        with store.held() as held:
            task = begin_read(session, store, held, 0)
            end = threading.Thread(target=target.end)
            end.start()
            eventually(lambda: not any(tcp._reads for tcp in list(target.server.connections.tcp.values())))
            held.release(PIPED)
            assert session.wait(task).data == PIPED
            end.join()
        session.close()
        assert not target.server.shutdown.stuck


def test_a_read_waits_for_the_write_that_waits(session: Session, store: HeldDisk, held: Held, disk: Path) -> None:
    slow = begin_read(session, store, held, 4)
    write = session.start_command(write16(3, 2), write=b"w" * 8192)
    behind = session.start_command(read16(2, 2), read=8192)
    eventually(lambda: store.flights == 3)
    assert stays_open(session, write)
    assert stays_open(session, behind)
    assert disk.read_bytes() == b"o" * SIZE
    held.release(PIPED)
    assert session.wait(slow).data == PIPED
    assert session.wait(write).good
    assert session.wait(behind).data == b"o" * 4096 + b"w" * 4096


@pytest.mark.parametrize("attribute", [1, ORDERED, HEAD_OF_QUEUE])
def test_a_task_waits_for_what_it_overlaps(
    session: Session, store: HeldDisk, held: Held, disk: Path, attribute: int
) -> None:
    slow = begin_read(session, store, held, 4)
    same = session.start_command(cdb(WRITE_SAME, 4, 1), write=b"s" * 4096, attribute=attribute)
    assert stays_open(session, same)
    if attribute == 1:
        assert session.command(cdb(VERIFY, 8, 1)).good
    assert disk.read_bytes() == b"o" * SIZE
    held.release(PIPED)
    assert session.wait(slow).data == PIPED
    assert session.wait(same).good
    assert session.command(read16(4, 1), read=4096).data == b"s" * 4096


def test_an_ordered_command_waits_for_all(session: Session, store: HeldDisk, held: Held) -> None:
    slow = begin_read(session, store, held, 4)
    ordered = session.start_command(read16(9, 1), read=4096, attribute=ORDERED)
    later = session.start_command(read16(10, 1), read=4096)
    assert stays_open(session, ordered)
    assert stays_open(session, later)
    held.release(PIPED)
    assert [session.wait(task).data[:1] for task in (slow, ordered, later)] == [b"p", b"o", b"o"]


def test_what_needs_no_blocks_waits_for_nothing(session: Session, store: HeldDisk, held: Held) -> None:
    slow = begin_read(session, store, held, 4)
    assert session.command(TUR).good
    assert session.command(SYNC).good
    assert store.flights == 1
    held.release(PIPED)
    assert session.wait(slow).data == PIPED


def test_an_aborted_one_has_no_answer(session: Session, store: HeldDisk, held: Held, disk: Path) -> None:
    slow = begin_read(session, store, held, 4)
    response = session.manage(ManagementFunction.ABORT_TASK, rtt=slow.itt, ref_cmd_sn=session.cmd_sn - 1)
    assert response.bhs[2] == 0  # function complete: there was such a task
    write = session.start_command(write16(4, 1), write=b"w" * 4096)
    assert stays_open(session, write)  # it may still be reading there
    held.release(PIPED)
    assert session.wait(write).good
    assert slow.result is None
    assert session.command(read16(4, 1), read=4096).data == b"w" * 4096


@pytest.mark.parametrize("function", [ManagementFunction.LOGICAL_UNIT_RESET, ManagementFunction.ABORT_TASK_SET])
def test_a_reset_ends_it(session: Session, store: HeldDisk, held: Held, function: ManagementFunction) -> None:
    slow = begin_read(session, store, held, 4)
    assert session.manage(function).bhs[2] == 0
    session.command(TUR)
    held.release(PIPED)
    assert session.command(read16(4, 1), read=4096).data == b"o" * 4096
    assert slow.result is None


def test_a_connection_that_ends_leaves_nothing_behind(session: Session, store: HeldDisk, held: Held) -> None:
    begin_read(session, store, held, 4)
    session.close()
    held.release(PIPED)
    eventually(lambda: store.flights == 0)


def test_a_read_that_finds_the_end_is_a_medium_error(session: Session, store: HeldDisk, held: Held) -> None:
    slow = begin_read(session, store, held, 4)
    held.release()
    result = session.wait(slow)
    assert result.sense_code[:2] == (3, 0x11)  # MEDIUM ERROR, UNRECOVERED READ ERROR
    assert session.command(read16(4, 1), read=4096).good


def test_fua_is_durable_and_nothing_else_is(session: Session, store: HeldDisk) -> None:
    assert session.command(SYNC).good
    store._words[UNFLUSHED] = 0
    assert session.command(write16(1, 1, fua=True), write=b"f" * 4096).good
    assert not store.unflushed
    assert session.command(write16(2, 1), write=b"w" * 4096).good
    assert store.unflushed
    store._words[DURABLE_FLAGS] = 1 << 30  # no such flag: the kernel refuses the write, and another way is found
    assert session.command(write16(3, 1), write=b"w" * 4096).good
    assert store.durable_calls == 0
    assert session.command(write16(4, 1, fua=True), write=b"f" * 4096).good
    assert store.durable_calls == 1
    assert session.command(read16(1, 4), read=16384).data == b"".join(
        letter * 4096 for letter in (b"f", b"w", b"w", b"f")
    )


def test_a_thread_waits_for_what_is_in_the_air_and_keeps_the_rest_down(
    session: Session, store: HeldDisk, held: Held
) -> None:
    slow = begin_read(session, store, held, 4)
    entered, go_on = threading.Event(), threading.Event()

    def change() -> None:
        with store._ranges.exclusive(4 * 4096, 4096):
            entered.set()
            go_on.wait(30)

    thread = threading.Thread(target=change)
    thread.start()
    eventually(lambda: store._ranges.writers == 1)
    assert not entered.wait(0.05)
    held.release(PIPED)
    assert entered.wait(10)
    assert session.wait(slow).data == PIPED
    behind = session.start_command(read16(4, 1), read=4096)
    assert stays_open(session, behind)
    assert store.flights == 0
    go_on.set()
    thread.join()
    assert session.wait(behind).good


def test_after_a_flush_that_failed_nothing_is_written(session: Session, store: HeldDisk) -> None:
    store.durability.lose(OSError(errno.EIO, "lost"))
    for fua in (False, True):
        assert session.command(write16(1, 1, fua), write=b"w" * 4096).sense_code[0] == 3
    assert session.command(read16(1, 1), read=4096).good


def test_a_cut_file_is_not_made_longer(session: Session, store: HeldDisk, disk: Path) -> None:
    os.truncate(disk, 8192)
    assert session.command(write16(4, 1), write=b"w" * 4096).sense_code[0] == 3
    assert session.command(read16(4, 1), read=4096).sense_code[0] == 3
    assert disk.stat().st_size == 8192


@pytest.mark.parametrize("digests", ["None", "CRC32C"])
@pytest.mark.parametrize("direct", ["", ",direct=yes"])
def test_many_at_a_time_are_what_a_model_says(in_thread: bool, disk: Path, digests: str, direct: str) -> None:
    kind = "file" if direct else "held"
    with serve(f"{kind}:{disk},block_size=4096{direct}", plugins=(held_disk,)) as served:
        content = [b"o" * 4096] * 256
        with Session.connect(served.address, IQN, digests=digests) as session:
            session.command(TUR)
            for seed in range(20):
                run_wave(session, random.Random(seed), content)
            assert session.command(SYNC).good
    assert disk.read_bytes() == b"".join(content)


def run_wave(session: Session, rng: random.Random, content: list[bytes]) -> None:
    """Sixteen commands at once, on blocks of their own each; ``content`` is what the disk holds, block by block."""
    wanted: list[tuple[Task, bytes | None]] = []
    free = list(range(0, 256, 16))
    rng.shuffle(free)
    for lba in free:
        count = rng.choice((1, 1, 2, 16))
        if rng.random() < 0.5:
            data = rng.randbytes(count * 4096)
            wanted.append((session.start_command(write16(lba, count, fua=rng.random() < 0.2), write=data), None))
            content[lba : lba + count] = [data[n * 4096 :][:4096] for n in range(count)]
        else:
            task = session.start_command(read16(lba, count), read=count * 4096)
            wanted.append((task, b"".join(content[lba : lba + count])))
    for task, expected in wanted:
        result = session.wait(task)
        assert result.good
        assert expected is None or result.data == expected
