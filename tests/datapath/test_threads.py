"""Data threads by themselves: what they serve, when they give a connection back, and that what is closed is closed."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.backstores.shortcut import OWN_FDS, THREAD_FILES

from .bench import BLOCK, NOP_OUT, SIZE, Wire, returned

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
PIECE = 64 << 10


@pytest.fixture(params=("ram", "file", "null"))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backstore]:
    made: Backstore
    if request.param == "file":
        (tmp_path / "disk").write_bytes(bytes(SIZE))
        made = FileBackstore(str(tmp_path / "disk"))
        made._spare_the_loop = lambda start, now: None  # type: ignore[method-assign]  # a busy machine is no busy disk
    else:
        made = RamBackstore(str(SIZE)) if request.param == "ram" else NullBackstore(str(SIZE))
    made.open()
    made.write(0, memoryview(bytes(SIZE)))
    yield made
    made.close()


class Keeper:
    """Lends connections again that come back because a write was slow, here where nobody makes a task of it."""

    def __init__(self, wires: list[Wire], threads: list[Any]) -> None:
        self.pairs = list(zip(wires, threads, strict=True))
        self.ends = threading.Event()
        for wire, thread in self.pairs:
            wire.lend(thread)
        self.helper = threading.Thread(target=self.keep)
        self.helper.start()

    def keep(self) -> None:
        while not self.ends.wait(0.005):
            for thread in {id(thread): thread for _, thread in self.pairs}.values():
                for rest in thread.take_back():
                    rest[0].take(rest)
                    assert not rest[0].unsent
                    rest[0].lend(thread)

    def end(self) -> None:
        """Have all back; nothing is under way."""
        self.ends.set()
        self.helper.join()
        for wire, thread in self.pairs:
            wire.take(thread.recall(wire.path))


def test_reads_and_writes_are_answered(module: ModuleType, threads: list[Any], store: Backstore) -> None:
    wires = [Wire(module, store, number) for number in (1, 2)]
    keeper = Keeper(wires, threads)
    for number, wire in enumerate(wires):
        data = bytes([number + 1]) * PIECE
        wire.ours.sendall(wire.write(number * 128, data) + wire.read(number * 128, 128))
        (written, _), (read, got) = wire.answers(2)
        assert (written[0], read[0]) == (0x21, 0x25)
        assert got == (bytes(PIECE) if type(store) is NullBackstore else data)
        assert (wire.path.commands, wire.path.read_bytes, wire.path.written_bytes) == (2, PIECE, PIECE)
        assert wire.path.heard > 0
    keeper.end()
    assert [thread.guests for thread in threads] == [0, 0]
    for wire in wires:
        assert (wire.received, wire.unsent, wire.path.exp_cmdsn) == (b"", b"", 3)
        wire.close()


@pytest.mark.parametrize("cut", [1, 47, 48, 50, 40000])
def test_a_pdu_may_come_in_parts(module: ModuleType, threads: list[Any], ram: RamBackstore, cut: int) -> None:
    wire = Wire(module, ram)
    data = bytes(range(256)) * 256
    stream = wire.write(0, data)
    wire.received = stream[: cut // 2]  # some of it came before the thread had it
    wire.lend(threads[0])
    wire.ours.sendall(stream[cut // 2 : cut])
    wire.take(threads[0].recall(wire.path))  # and some before another has it
    wire.lend(threads[1])
    wire.ours.sendall(stream[cut:] + wire.read(0, 128))
    assert [bhs[0] for bhs, _ in wire.answers(2)] == [0x21, 0x25]
    wire.take(threads[1].recall(wire.path))
    wire.close()


def test_what_it_does_not_know_goes_back_as_it_was(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    wire = Wire(module, ram)
    wire.lend(threads[0])
    behind = wire.read(0, 8)
    wire.cmdsn -= 1
    wire.ours.sendall(wire.read(0, 8) + NOP_OUT + behind)
    assert wire.answers(1)[0][0][0] == 0x25
    (rest,) = returned(threads[0])
    wire.take(rest)
    while len(wire.received) < len(NOP_OUT + behind):
        wire.received += wire.theirs.recv(4096)
    assert wire.received == NOP_OUT + behind
    assert wire.path.exp_cmdsn == 2
    wire.close()


@pytest.mark.parametrize("fields", [{"flags": 0xC2}, {"itt": 0xFFFFFFFF}, {"cmd_sn": 7}, {"edtl": 512}])
def test_a_command_that_needs_a_task_goes_back(
    module: ModuleType, threads: list[Any], ram: RamBackstore, fields: dict[str, int]
) -> None:
    wire = Wire(module, ram)
    wire.lend(threads[0])
    stream = wire.read(0, 8, **fields)
    wire.ours.sendall(stream)
    (rest,) = returned(threads[0])
    wire.take(rest)
    assert wire.received == stream
    wire.close()


def test_a_connection_that_is_closed_goes_back(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    wire = Wire(module, ram)
    wire.lend(threads[0])
    wire.ours.close()
    (rest,) = returned(threads[0])
    wire.take(rest)
    assert wire.theirs.recv(1) == b""
    wire.close()


def test_who_takes_no_output_keeps_nobody_else_waiting(
    module: ModuleType, threads: list[Any], ram: RamBackstore
) -> None:
    slow, other = Wire(module, ram, 1), Wire(module, ram, 2)
    slow.lend(threads[0])
    other.lend(threads[0])
    count = 200
    slow.ours.sendall(b"".join(slow.read(0, 128) for _ in range(count)))
    other.ours.sendall(other.read(0, 8))
    assert len(other.answers(1)[0][1]) == 4096
    taken = slow.answers(count)
    assert [int.from_bytes(bhs[24:28], "big") for bhs, _ in taken] == list(range(1, count + 1))  # StatSN
    for wire in (slow, other):
        wire.take(threads[0].recall(wire.path))
        wire.close()


def test_output_that_waits_comes_back_with_the_connection(
    module: ModuleType, threads: list[Any], ram: RamBackstore
) -> None:
    wire = Wire(module, ram)
    wire.lend(threads[0])
    count = 200
    wire.ours.sendall(b"".join(wire.read(0, 128) for _ in range(count)))
    while wire.path.commands < 16:
        select.select([], [], [], 0.001)
    rest = threads[0].recall(wire.path)
    wire.take(rest)
    put = rest[3]
    assert put == wire.path.commands * (48 + PIECE)
    assert len(wire.received) % 48 == 0
    sender = threading.Thread(target=lambda: (wire.theirs.setblocking(True), wire.theirs.sendall(wire.unsent)))
    sender.start()
    assert len(wire.answers(wire.path.commands)) == wire.path.commands
    sender.join()
    wire.close()


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


def test_two_threads_never_mix_what_they_write(module: ModuleType, threads: list[Any], store: Backstore) -> None:
    if type(store) is NullBackstore:
        return
    wires = [Wire(module, store, number) for number in (1, 2)]
    reader = Wire(module, store, 3)
    keeper = Keeper([*wires, reader], [*threads, threads[0]])

    def rewrite(wire: Wire) -> None:
        for filler in range(1, 200):
            wire.ours.sendall(b"".join(wire.write(0, bytes([filler]) * PIECE) for _ in range(4)))
            wire.answers(4)

    helpers = [threading.Thread(target=rewrite, args=(wire,)) for wire in wires]
    for helper in helpers:
        helper.start()
    for _ in range(300):
        reader.ours.sendall(reader.read(0, PIECE // BLOCK))
        assert len(set(reader.answers(1)[0][1])) == 1
    for helper in helpers:
        helper.join()
    keeper.end()
    for wire in (*wires, reader):
        wire.close()


def test_a_path_that_is_lent_is_nobody_elses(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    wire = Wire(module, ram)
    with pytest.raises(RuntimeError):
        threads[0].recall(wire.path)
    wire.lend(threads[0])
    for call in (
        wire.path.next_statsn,
        wire.path.advance,
        lambda: wire.path.open_gate(0, wire.gate),
        lambda: wire.path.agree(1, 1, 1),
        lambda: wire.path.consume(0, 48, 1),
        lambda: wire.lend(threads[1]),
    ):
        with pytest.raises(RuntimeError):
            call()
    with pytest.raises(ValueError, match="another thread"):
        threads[1].recall(wire.path)
    wire.take(threads[0].recall(wire.path))
    assert wire.path.next_statsn() == 1
    wire.close()
