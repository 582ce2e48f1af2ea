"""What data threads write, and read, beside a loop that wants to be alone."""

from __future__ import annotations

import os
import select
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.backstores.shortcut import OWN_FDS, THREAD_FILES

from .bench import NOP_OUT, PIECE, SIZE, Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


class Writers:
    """Two connections on two threads that write as fast as they can, each over all of one disk."""

    def __init__(self, module: ModuleType, threads: list[Any], store: Backstore) -> None:
        self.threads = threads
        self.wires = [Wire(module, store, number) for number in (1, 2)]
        self.ends = False
        self.helpers = []
        for wire, thread in zip(self.wires, threads, strict=True):
            wire.lend(thread)
            for work in (self.feed, self.drain):
                self.helpers.append(threading.Thread(target=work, args=(wire,)))
                self.helpers[-1].start()

    def feed(self, wire: Wire) -> None:
        filler = 0
        while not self.ends:
            filler = filler % 255 + 1
            batch = b"".join(wire.write(lba * 128, bytes([filler]) * PIECE) for lba in range(SIZE // PIECE))
            wire.ours.sendall(batch)
        wire.ours.sendall(NOP_OUT)

    def drain(self, wire: Wire) -> None:
        while wire.ours.recv(1 << 16):
            pass

    def serve_again(self) -> None:
        """Lend the connections once more that have come back, and go on with what they had received."""
        for thread in self.threads:
            for rest in thread.take_back():
                rest[0].take(rest)
                if rest[0].unsent:
                    rest[0].theirs.setblocking(True)
                    rest[0].theirs.sendall(rest[0].unsent)
                    rest[0].theirs.setblocking(False)
                    rest[0].unsent = b""
                rest[0].lend(thread)

    def end(self) -> None:
        """Let all end: the NOP-Out behind the last write brings a connection back for good."""
        self.ends = True
        for wire in self.wires:
            while not wire.received.endswith(NOP_OUT):
                select.select([thread.fileno() for thread in self.threads], [], [], 60)
                for thread in self.threads:
                    for rest in thread.take_back():
                        rest[0].take(rest)
                        if not rest[0].received.startswith(NOP_OUT):
                            rest[0].unsent = b""
                            rest[0].lend(thread)
            wire.theirs.close()
        for helper in self.helpers:
            helper.join()
        for wire in self.wires:
            wire.close()


def content(store: RamBackstore) -> bytes:
    """All of a disk, without asking for anything to stop."""
    return b"".join(bytes(store._chunks[index]) for index in sorted(store._chunks))


def test_nothing_lands_after_a_gate_was_closed(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    writers = Writers(module, threads, ram)
    landed = set()
    for _ in range(100):
        for wire in writers.wires:
            wire.gate.write_open = False
        before = content(ram)
        threading.Event().wait(0.0005)
        assert content(ram) == before
        landed.add(before)
        for wire in writers.wires:
            wire.gate.write_open = True
        writers.serve_again()
        threading.Event().wait(0.001)
    assert len(landed) > 50  # they did write in between
    writers.end()


def test_a_smaller_disk_and_calls_of_python_are_alone(
    module: ModuleType, threads: list[Any], ram: RamBackstore
) -> None:
    writers = Writers(module, threads, ram)
    half = SIZE // 2
    for _ in range(40):
        ram.resize(half)
        assert len(ram._chunks) == half >> 20
        ram.resize(SIZE)
        ram.write(half, memoryview(bytes(half)))  # data threads make no chunks
        buffer = memoryview(bytearray(SIZE))
        ram.read_into(0, buffer)
        for place in range(0, SIZE, PIECE):  # no piece is a mixture of two writes
            assert len(set(buffer[place : place + PIECE])) == 1
        writers.serve_again()
        threading.Event().wait(0.001)
    writers.end()


def test_each_thread_reads_a_file_by_a_descriptor_of_its_own(
    module: ModuleType, threads: list[Any], tmp_path: Path
) -> None:
    """Though the file has been replaced at its path; and all are closed with the disk."""
    path = tmp_path / "disk"
    path.write_bytes(b"a" * SIZE)
    before = set(os.listdir("/proc/self/fd"))
    store = FileBackstore(str(path))
    store.open()
    path.rename(tmp_path / "kept")
    path.write_bytes(b"b" * SIZE)
    wires = [Wire(module, store, number) for number in (1, 2)]
    apart = [fd for fd in store._words[OWN_FDS : OWN_FDS + THREAD_FILES] if fd >= 0]
    assert len(set(apart)) == len(threads)
    for wire, thread in zip(wires, threads, strict=True):
        wire.lend(thread)
        wire.ours.sendall(wire.read(0, 8))
        assert wire.answers(1)[0][1] == b"a" * 4096
        wire.take(thread.recall(wire.path))
    for wire in wires:
        wire.close()
    store.close()
    assert {fd for fd in os.listdir("/proc/self/fd") if fd in map(str, apart)} <= before
