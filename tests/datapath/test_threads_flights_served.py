"""What waits for the disk in the rings of data threads, over sockets: sessions that keep commands in it all along."""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server.harness import eventually
from support.native import needs_data_path, needs_ring

from iscsitools.initiator import Session
from iscsitools.scsi.core.gate import FLIGHTS as UNIT_FLIGHTS
from iscsitools.scsi.core.gate import READS, WRITES
from iscsitools.server import data_threads
from iscsitools.testing.serving import Served, serve

from .bench import BLOCK, SIZE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
PAGE = 4096
FUA = 0x08


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_data_path()
    needs_ring()
    monkeypatch.setattr(data_threads, "useful", lambda module, memory: 2)


def served_threads(served: Served) -> list[Any]:
    found = served._server.connections.threads
    assert found is not None
    return list(found.threads)


def transfer(code: int, flags: int, lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", code, flags, lba, 0, blocks, 0)


def run(sessions: list[Session], work: Callable[[int, Session], None]) -> None:
    """Each in a thread of its own."""
    errors: list[BaseException] = []

    def guarded(number: int, session: Session) -> None:
        try:
            work(number, session)
        except BaseException as error:
            errors.append(error)

    helpers = [threading.Thread(target=guarded, args=each) for each in enumerate(sessions)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    assert not errors, errors


def test_connections_come_and_go_with_what_flies(tmp_path: Path) -> None:
    """Each session keeps eight commands in the disk, and sends now and then what brings its connection to the loop."""
    (tmp_path / "disk").write_bytes(bytes(SIZE))
    own = SIZE // 4 // PAGE

    def work(number: int, session: Session) -> None:
        rng, known, wanted = random.Random(number), dict[int, bytes](), list[Any]()
        for _ in range(600):
            page = number * own + rng.randrange(own)
            flags = FUA * (rng.random() < 0.1)
            if rng.random() < 0.5:
                known[page] = rng.randbytes(16) * (PAGE // 16)
                task = session.start_command(transfer(0x2A, flags, page * 8, 8), write=known[page])
            else:
                task = session.start_command(transfer(0x28, flags, page * 8, 8), read=PAGE)
            wanted.append((page, task, known.get(page, bytes(PAGE))))
            while len(wanted) > 8 or (wanted and any(page == each[0] for each in wanted[:-1])):
                _, first, data = wanted.pop(0)
                result = session.wait(first)
                assert result.good
                assert not result.data or result.data == data
            if rng.random() < 0.02:
                session.command(bytes(6))
        assert all(session.wait(task).good for _, task, _ in wanted)

    with serve(f"file:{tmp_path}/disk,direct=yes") as served:
        sessions = [served.connect(name) for name in "abcd"]
        unit = served._server.assembly.units[0][1]
        run(sessions, work)
        assert unit.counts[READS] + unit.counts[WRITES] == 4 * 600
        assert all(thread.cpu > 0 for thread in served_threads(served))
        eventually(lambda: unit.counts[UNIT_FLIGHTS] == 0)
        for session in sessions:
            session.logout()


@pytest.mark.parametrize("options", [",direct=yes", ""])
def test_what_flies_is_no_mixture(tmp_path: Path, options: str) -> None:
    """Two sessions rewrite the same bytes, more than a page of them, and two read them; some with FUA."""
    (tmp_path / "disk").write_bytes(bytes(SIZE))
    blocks = 14

    def work(number: int, session: Session) -> None:
        rng = random.Random(number)
        for turn in range(150):
            lba = rng.choice((0, 3, 7))
            if number < 2:
                data = bytes([number + 2 * turn % 250]) * (blocks * BLOCK)
                flags = FUA if options == "" or rng.random() < 0.1 else 0
                assert session.command(transfer(0x2A, flags, lba, blocks), write=data).good
            else:
                result = session.command(transfer(0x28, 0, 7, 7), read=7 * BLOCK)  # all of them write it
                assert result.good
                assert len(set(result.data)) == 1

    with serve(f"file:{tmp_path}/disk{options}") as served:
        sessions = [served.connect(name) for name in "abcd"]
        run(sessions, work)
        for session in sessions:
            session.logout()


def test_a_disk_shrinks_and_ends_under_what_flies(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    ends = threading.Event()

    def work(number: int, session: Session) -> None:
        rng = random.Random(number)
        while not ends.is_set():
            lbas = rng.sample(range(0, SIZE // BLOCK, 8), 8)
            tasks = [session.start_command(transfer(0x2A, 0, lba, 8), write=b"w" * PAGE) for lba in lbas]
            for task in tasks:
                session.wait(task)

    with serve(f"file:{disk},direct=yes") as served:
        sessions = [served.connect(name) for name in "ab"]
        unit, store = served._server.assembly.units[0][1], served.stores[0]
        helper = threading.Thread(target=run, args=(sessions, work))
        helper.start()
        eventually(lambda: all(thread.cpu > 10**7 for thread in served_threads(served)))
        for turn in range(6):
            size = SIZE // (1 + (turn + 1) % 2)
            store.resize(size)  # as the control thread does
            served._server.loop.call_soon(unit.capacity_changed)
            assert disk.stat().st_size == store.size == size
        ends.set()
        helper.join()
        for session in sessions:
            session.close()
    assert not [fd for fd in os.listdir("/proc/self/fd") if _is(fd, disk)]


def _is(fd: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == str(path)
    except OSError:
        return False
