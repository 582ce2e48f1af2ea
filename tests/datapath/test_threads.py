"""Data threads by themselves: what they serve, when they give a connection back, and that what is closed is closed."""

from __future__ import annotations

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

from .bench import BLOCK, NOP_OUT, PIECE, SIZE, Wire, returned

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


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
