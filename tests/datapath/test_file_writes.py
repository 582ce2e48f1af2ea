"""WRITEs into the page cache by the data path in C: whole pages, and parts of pages that are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import harness
from engine.harness import Target, Wire, read10, write10
from support.native import needs_data_path

from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.shortcut import READ_FLAGS
from iscsitools.backstores.syscalls import RWF_NOWAIT, is_in_memory

SIZE = 1 << 20
PARTS = [(1, 8), (1, 1), (8, 1), (8, 7), (9, 7), (1, 16), (7, 2), (7, 10), (0, 20)]
"""First block, and blocks, of writes that cover pages in part."""
WHOLE = [(0, 8), (8, 16)]

pytestmark = pytest.mark.skipif(not RWF_NOWAIT, reason="RWF_NOWAIT is Linux's")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"o" * SIZE)
    return path


@pytest.fixture
def store(disk: Path) -> Iterator[FileBackstore]:
    store = FileBackstore(str(disk))
    store.open()
    # A write that this machine made wait for 20 ms would send those after it another way.
    store._spare_the_loop = lambda begin, end: None  # type: ignore[method-assign]
    store._calls = None  # no ring: what waits for the disk is a task
    yield store
    store.close()


@pytest.fixture
def wire(store: FileBackstore, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(harness, "data_path", needs_data_path())
    wire = Target(disk=store).session()
    wire.command(bytes(6))
    assert len(wire.command(read10(0, 32), read=16384)) == 1
    return wire


def tasks(wire: Wire, lba: int, blocks: int) -> int:
    """How many tasks a WRITE takes, which is answered with GOOD."""
    before = wire.conn.taken
    (answer,) = wire.command(write10(lba, blocks), write=b"w" * 512 * blocks)
    assert answer.status == 0
    return wire.conn.taken - before


@pytest.mark.parametrize(("lba", "blocks"), PARTS + WHOLE)
def test_pages_that_are_there_are_written_at_once(
    wire: Wire, store: FileBackstore, disk: Path, lba: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(store, "try_write", lambda *call: asked.append(call))
    assert (tasks(wire, lba, blocks), asked) == (0, [])
    written = bytearray(b"o" * SIZE)
    written[512 * lba : 512 * (lba + blocks)] = b"w" * 512 * blocks
    assert disk.read_bytes() == written


@pytest.mark.parametrize(("lba", "blocks"), PARTS + WHOLE)
def test_without_an_answer_whether_pages_are_there(wire: Wire, store: FileBackstore, lba: int, blocks: int) -> None:
    store._words[READ_FLAGS] = -1
    assert tasks(wire, lba, blocks) == ((lba, blocks) in PARTS)


def test_pages_in_memory_are_there_always(wire: Wire, store: FileBackstore) -> None:
    store._words[READ_FLAGS] = 0
    assert not any(tasks(wire, lba, blocks) for lba, blocks in PARTS)


@pytest.mark.parametrize(("lba", "blocks"), PARTS)
def test_nobody_waits_for_a_page_to_be_read(
    wire: Wire, store: FileBackstore, disk: Path, lba: int, blocks: int
) -> None:
    """A disk may have brought it by the second look, of a large page by the first: so some tries are made."""
    if is_in_memory(store._fd):
        pytest.skip("its files are in memory")

    def tasks_when_cold() -> int:
        os.fsync(store._fd)
        os.posix_fadvise(store._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return tasks(wire, lba, blocks)

    assert any(tasks_when_cold() for _ in range(20))
