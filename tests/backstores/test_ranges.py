"""Overlapping calls on one file exclude each other, in threads and on the event loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ranges import RangeLock

LENGTH = 256 << 10


def waiting(lock: RangeLock, count: int) -> None:
    end = time.monotonic() + 30
    while len(lock.holds) < count:
        assert time.monotonic() < end, "nobody came"
        time.sleep(0.001)


def test_readers_share_and_writers_do_not() -> None:
    lock = RangeLock()
    with lock.shared(0, 100), lock.shared(50, 100):
        assert not lock.in_the_way(0, 10, False)
        assert lock.in_the_way(140, 20, True)
        assert not lock.in_the_way(150, 10, True)
    with lock.exclusive(0, 100):
        assert lock.in_the_way(99, 1, False)
        assert not lock.in_the_way(100, 1, True)
    assert not lock.holds
    assert not lock.writers


def test_the_first_come_is_first_served() -> None:
    lock = RangeLock()
    order: list[str] = []

    def take(name: str, exclusive: bool) -> threading.Thread:
        def run() -> None:
            with lock.exclusive(0, 10) if exclusive else lock.shared(0, 10):
                order.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    first = lock.shared(5, 1)
    lock.enter(first)
    threads = []
    for number, (name, exclusive) in enumerate((("w1", True), ("r1", False), ("w2", True)), 2):
        threads.append(take(name, exclusive))
        waiting(lock, number)
    assert order == []
    assert lock.in_the_way(5, 1, False), "a writer that waits is not overtaken by readers"
    first.release()
    for thread in threads:
        thread.join()
    assert order == ["w1", "r1", "w2"]


def test_a_thread_waits_for_the_call_on_the_loop() -> None:
    lock = RangeLock()
    lock.inline = object()
    entered = threading.Event()

    def run() -> None:
        with lock.exclusive(0, 10):
            entered.set()

    thread = threading.Thread(target=run)
    thread.start()
    waiting(lock, 1)
    assert not entered.wait(0.05)
    lock.inline = object()  # the next call on the loop: it has seen the thread, which need not wait for it
    thread.join(10)
    assert entered.is_set()


@pytest.mark.parametrize("options", ["", ",direct=yes"])
def test_no_read_is_part_old_part_new(opened: Callable[..., Backstore], tmp_path: Path, options: str) -> None:
    """Threads write whole ranges of one byte each, while other threads and the loop read them."""
    store = opened(f"file:{tmp_path}/disk,size=1M{options}", block_size=4096)
    finished = threading.Event()
    torn: list[bytes] = []

    def reader(buffer: bytearray) -> None:
        store.read_into(0, memoryview(buffer))
        if buffer != buffer[:1] * LENGTH:
            torn.append(bytes(buffer[::4096]))

    def read_all_the_time() -> None:
        buffer = bytearray(LENGTH)
        while not finished.is_set():
            reader(buffer)

    def write(fill: int) -> None:
        for _ in range(60):
            store.write(0, memoryview(bytes([fill]) * LENGTH))

    readers = [threading.Thread(target=read_all_the_time) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(fill,)) for fill in (1, 2)]
    for thread in (*readers, *writers):
        thread.start()
    buffer = bytearray(LENGTH)
    while any(thread.is_alive() for thread in writers):
        if store.try_read_into(0, memoryview(buffer)) and buffer != buffer[:1] * LENGTH:
            torn.append(bytes(buffer[::4096]))
        store.try_write(0, memoryview(b"\x03" * LENGTH))
    finished.set()
    for thread in (*readers, *writers):
        thread.join()
    assert torn == []


def test_calls_on_the_loop_leave_a_range_in_use_to_threads(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(65536))
    store = FileBackstore(str(path))
    store.open()
    buffer = memoryview(bytearray(4096))
    store.read_into(0, memoryview(bytearray(65536)))
    with store._ranges.shared(0, 8192):
        assert store.try_read_into(4096, buffer)
        assert not store.try_write(4096, buffer)
        assert store.try_write(8192, buffer)
    with store._ranges.exclusive(0, 8192):
        assert not store.try_read_into(4096, buffer)
        assert store.try_read_into(8192, buffer)
        assert not store.try_write(4096, buffer)
    assert store._ranges.inline is None
    store.close()
