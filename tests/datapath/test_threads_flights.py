"""What waits for the disk in the rings of data threads: two threads over one file, and connections that come and go."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from server.harness import eventually
from support.native import needs_data_path, needs_ring

from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.shortcut import FLIGHTS, HOLDS, NO_WRITE_BEFORE, READ_FLAGS, UNFLUSHED, WRITERS
from iscsitools.scsi.core.gate import FLIGHTS as UNIT_FLIGHTS
from iscsitools.scsi.core.gate import READS, WRITES

from .bench import BLOCK, NOP_OUT, SIZE, Wire, returned, write10

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
PAGE = 4096
BLOCKS = PAGE // BLOCK
HOUR = 3600 * 10**9
FORMS = ("whole", "in place", "asked")
"""Of a WRITE: its data comes with it at once, or in pieces; or it is asked for."""


@pytest.fixture(autouse=True)
def ring() -> None:
    needs_data_path()
    needs_ring()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileBackstore]:
    """A file of which nothing is read or written at once."""
    (tmp_path / "disk").write_bytes(b"o" * SIZE)
    made = FileBackstore(str(tmp_path / "disk"))
    made.open()
    made._words[READ_FLAGS] = -1
    made._words[NO_WRITE_BEFORE] = time.monotonic_ns() + HOUR
    yield made
    made.close()


class FlyingWire(Wire):
    """A connection whose commands may wait for the disk. ``landed``: those that the loop's thread has been told of."""

    def __init__(self, module: ModuleType, store: FileBackstore, number: int = 1) -> None:
        super().__init__(module, store, number)
        self.landed: list[int | None] = []
        self.path.land_by(lambda needed: None, lambda itt, result: self.landed.append(itt))

    def command(self, cdb: bytes, data: bytes = b"", length: int = 0) -> bytes:
        return self.pdu(cdb, data, length)


class Pipe:
    """A file whose next reads wait: they are begun from a pipe."""

    def __init__(self, store: FileBackstore, threads: list[Any]) -> None:
        self.store, self.threads = store, threads
        self.out, self.into = os.pipe()

    def __enter__(self) -> Pipe:
        self.real = os.dup(self.store._fd)
        self._forget()
        os.dup2(self.out, self.store._fd)
        return self

    def __exit__(self, *exception: object) -> None:
        self._forget()
        os.dup2(self.real, self.store._fd)
        os.close(self.real)

    def _forget(self) -> None:
        for thread in self.threads:
            thread.forget(self.store._fd)

    def end(self, data: bytes) -> None:
        """The reads that wait get these bytes."""
        os.write(self.into, data)
        os.close(self.into)
        os.close(self.out)


def begin_read(wire: FlyingWire, pipe: Pipe) -> None:
    """Have the first thread begin a READ of the page at block 64, which waits until the pipe's end."""
    with pipe:
        wire.lend(pipe.threads[0])
        wire.ours.sendall(wire.read(64, BLOCKS))
        eventually(lambda: pipe.store._words[FLIGHTS] == 1)


def test_commands_are_begun_and_answered_by_the_thread(
    module: ModuleType, threads: list[Any], store: FileBackstore
) -> None:
    wires = [FlyingWire(module, store, number) for number in (1, 2)]
    for wire, thread in zip(wires, threads, strict=True):
        wire.lend(thread)
    for number, wire in enumerate(wires):
        first = number * 1024
        data = [bytes([17 * number + each]) * PAGE for each in range(16)]
        stream = b"".join(wire.write(first + 8 * each, data[each]) for each in range(16))
        wire.ours.sendall(stream + wire.read(first, 128) + wire.read(first + 512, 8))
        answers = wire.answers(18)
        assert sorted(bhs[16:20] for bhs, _ in answers) == [each.to_bytes(4, "big") for each in range(1, 19)]
        assert [bhs[24:28] for bhs, _ in answers] == [each.to_bytes(4, "big") for each in range(1, 19)]  # StatSN
        got = {bhs[16:20]: data for bhs, data in answers}
        assert got[(17).to_bytes(4, "big")] == b"".join(data)  # it has waited for all of them
        assert got[(18).to_bytes(4, "big")] == b"o" * PAGE
    for wire, thread in zip(wires, threads, strict=True):
        wire.take(thread.recall(wire.path))
        wire.gate.add_up()
        assert (wire.gate.words[WRITES], wire.gate.words[READS], wire.path.commands) == (16, 2, 18)
        assert (wire.path.written_bytes, wire.path.read_bytes) == (16 * PAGE, 17 * PAGE)
        assert (wire.received, wire.unsent, wire.landed, wire.path.flights) == (b"", b"", [], 0)
        wire.close()
    assert store._words[FLIGHTS] == 0
    assert store._words[UNFLUSHED] == 1


def test_who_is_in_the_way_of_another_threads_flight_goes_back(
    module: ModuleType, threads: list[Any], store: FileBackstore
) -> None:
    """A READ of one thread is in the disk: another writes beside it, and not there. At last that goes back."""
    threads[1].patience = 0
    slow, other = FlyingWire(module, store, 1), FlyingWire(module, store, 2)
    pipe = Pipe(store, threads)
    begin_read(slow, pipe)
    other.lend(threads[1])
    other.ours.sendall(other.write(72, b"w" * PAGE) + other.read(64, BLOCKS) + other.read(72, BLOCKS))
    got = {bhs[16:20]: data for bhs, data in other.answers(3)}
    assert got[(2).to_bytes(4, "big")] == b"o" * PAGE
    assert got[(3).to_bytes(4, "big")] == b"w" * PAGE
    command = other.write(71, b"x" * PAGE)
    other.ours.sendall(command)
    (rest,) = returned(threads[1])
    other.take(rest)
    assert other.received == command
    pipe.end(b"p" * PAGE)
    assert slow.answers(1)[0][1] == b"p" * PAGE
    other.lend(threads[1])
    assert other.answers(1)[0][0][0] == 0x21
    for wire, thread in zip((slow, other), threads, strict=True):
        wire.take(thread.recall(wire.path))
        wire.close()


def send(wire: FlyingWire, form: str) -> bytes:
    """A WRITE of 64 KiB at block 71; its last PDU, which has to wait."""
    data = b"x" * (16 * PAGE)
    if form != "asked":
        command = wire.write(71, data)
        if form == "whole":
            wire.ours.sendall(command)
            return command
        wire.ours.sendall(command[:PAGE])
        eventually(lambda: wire.path.heard > 0)  # it has seen the beginning
        wire.ours.sendall(command[PAGE:])
        return command
    wire.ours.sendall(wire.pdu(write10(71, len(data) // BLOCK), flags=0xA1, edtl=len(data)))
    ((request, _),) = wire.answers(1)
    command = wire.data_out(wire.cmdsn - 1, int.from_bytes(request[20:24], "big"), 0, 0, data, True)
    wire.ours.sendall(command)
    return command


def hold_up(module: ModuleType, store: FileBackstore, pipe: Pipe, form: str) -> tuple[FlyingWire, FlyingWire, bytes]:
    """Two connections: the first one's READ is in the disk, the second one's WRITE, of another thread, in its way."""
    slow, other, third = (FlyingWire(module, store, number) for number in (1, 2, 3))
    other.path.agree(262144, 262144, 65536, 65536, True, 1)
    begin_read(slow, pipe)
    pipe.threads[1].patience = HOUR
    other.lend(pipe.threads[1])
    command = send(other, form)
    third.lend(pipe.threads[1])
    for _ in range(4):  # its thread has been at other things since
        third.ours.sendall(third.read(256, BLOCKS))
        assert third.answers(1)[0][1] == b"o" * PAGE
    third.take(pipe.threads[1].recall(third.path))
    third.close()
    assert (store._words[FLIGHTS], other.path.commands) == (1, form == "asked")
    return slow, other, command


@pytest.mark.parametrize("form", FORMS)
def test_it_waits_in_its_thread_for_what_is_in_its_way(
    module: ModuleType, threads: list[Any], store: FileBackstore, form: str
) -> None:
    pipe = Pipe(store, threads)
    slow, other, _ = hold_up(module, store, pipe, form)
    other.ours.sendall(other.read(71, BLOCKS))  # behind it
    pipe.end(b"p" * PAGE)
    assert slow.answers(1)[0][1] == b"p" * PAGE
    answers = other.answers(2)
    assert [(bhs[0], data) for bhs, data in answers] == [(0x21, b""), (0x25, b"x" * PAGE)]
    assert int.from_bytes(answers[0][0][36:40], "big") == (form == "asked")  # ExpDataSN: of R2Ts
    assert threads[1].take_back() == []
    for wire, thread in zip((slow, other), threads, strict=True):
        wire.take(thread.recall(wire.path))
        wire.close()


@pytest.mark.parametrize("form", FORMS)
def test_what_waits_in_its_thread_goes_back_as_it_came(
    module: ModuleType, threads: list[Any], store: FileBackstore, form: str
) -> None:
    """When it is called back, and when its gate has been closed meanwhile."""
    pipe = Pipe(store, threads)
    slow, other, command = hold_up(module, store, pipe, form)
    other.take(threads[1].recall(other.path))
    assert other.received == command
    other.lend(threads[1])
    other.gate.write_open = False
    (rest,) = returned(threads[1])
    other.take(rest)
    asked = form == "asked"
    assert (other.received, other.path.commands, other.path.transfers, other.path.flights) == (command, asked, asked, 0)
    pipe.end(b"p" * PAGE)
    assert slow.answers(1)[0][1] == b"p" * PAGE
    slow.take(threads[0].recall(slow.path))
    for wire in (slow, other):
        wire.close()


@pytest.mark.parametrize(("word", "writes"), [(HOLDS, True), (WRITERS, False)])
def test_none_begins_while_somebody_holds_a_range(
    module: ModuleType, threads: list[Any], store: FileBackstore, word: int, writes: bool
) -> None:
    wire = FlyingWire(module, store)
    command = wire.write(0, b"w" * PAGE) if writes else wire.read(0, BLOCKS)
    store._words[word] = 1
    wire.lend(threads[0])
    wire.ours.sendall(command)
    (rest,) = returned(threads[0])
    wire.take(rest)
    assert wire.received == command
    store._words[word] = 0
    wire.close()


def test_it_flies_on_when_its_connection_has_gone_back(
    module: ModuleType, threads: list[Any], store: FileBackstore
) -> None:
    wire = FlyingWire(module, store)
    pipe = Pipe(store, threads)
    with pipe:
        wire.lend(threads[0])
        wire.ours.sendall(wire.read(64, BLOCKS) + NOP_OUT)
        (rest,) = returned(threads[0])
    wire.take(rest)
    assert (wire.received, wire.path.flights, wire.path.flying()) == (NOP_OUT, 1, [(1, 0)])
    assert wire.gate.words[UNIT_FLIGHTS] == 1
    with pytest.raises(ValueError, match="in the disk"):
        wire.lend(threads[1])
    assert threads[0].landed() == []
    pipe.end(b"p" * PAGE)
    assert returned(threads[0]) == []
    for (ended, what), result in threads[0].landed():
        ended(what, result)
    assert wire.landed == [1]  # there is no room for its answer here: a task is made of it
    taken: list[Any] = []
    assert wire.path.take_flight(1, lambda *flight: taken.append(flight))
    assert [(flight[0][:2], flight[1:]) for flight in taken] == [(b"\x01\xc1", (None, False, 0))]
    assert (wire.path.flights, store._words[FLIGHTS], wire.gate.words[UNIT_FLIGHTS]) == (0, 0, 0)
    wire.close()


def test_who_takes_one_over_knows_of_its_r2ts(module: ModuleType, threads: list[Any], store: FileBackstore) -> None:
    """A WRITE whose data was asked for waits for a READ; then its connection is called back."""
    wire, pipe = FlyingWire(module, store), Pipe(store, threads)
    wire.path.agree(262144, 16384, 65536, 65536, True, 1)
    begin_read(wire, pipe)
    wire.ours.sendall(wire.pdu(write10(64, 32), flags=0xA1, edtl=16384))
    ((request, _),) = wire.answers(1)
    wire.ours.sendall(wire.data_out(2, int.from_bytes(request[20:24], "big"), 0, 0, b"w" * 16384, True))
    eventually(lambda: store._words[FLIGHTS] == 2)
    wire.take(threads[0].recall(wire.path))
    assert (wire.path.flying(), wire.path.transfers) == ([(1, 0), (2, 0)], 0)
    taken: list[Any] = []
    assert wire.path.take_flight(2, lambda *flight: taken.append(flight))
    assert taken[0][1:] == (b"w" * 16384, False, 1)
    assert wire.path.take_flight(1, lambda *flight: None)
    pipe.end(b"p" * PAGE)
    eventually(lambda: (returned(threads[0]), threads[0].landed(), store._words[FLIGHTS] == 0)[-1])
    wire.close()


def test_what_the_disk_refuses_goes_back_behind_its_connection(
    module: ModuleType, threads: list[Any], store: FileBackstore
) -> None:
    wire, pipe = FlyingWire(module, store), Pipe(store, threads)
    begin_read(wire, pipe)
    pipe.end(b"")  # it finds the end
    (rest,) = returned(threads[0])
    wire.take(rest)
    for (ended, what), result in threads[0].landed():
        ended(what, result)
    assert (wire.landed, wire.path.flights) == ([1], 1)
    assert wire.path.take_flight(1, lambda *flight: None)
    wire.close()


def test_a_fua_read_does_not_wait_for_what_is_not_durable(
    module: ModuleType, threads: list[Any], store: FileBackstore
) -> None:
    """A flush has ended since that WRITE began: what it writes may not be on the medium when the READ has it."""
    wire, pipe = FlyingWire(module, store), Pipe(store, threads)
    begin_read(wire, pipe)
    wire.ours.sendall(wire.write(64, b"w" * PAGE))
    eventually(lambda: store._words[FLIGHTS] == 2)
    store._words[UNFLUSHED] = 0
    command = wire.command(b"\x28\x08" + (64).to_bytes(4, "big") + b"\0\0\x08\0", length=PAGE)
    wire.ours.sendall(command)
    (rest,) = returned(threads[0])
    wire.take(rest)
    assert wire.received == command
    assert len(wire.path.flying()) == 2
    pipe.end(b"p" * PAGE)
    ends: list[int] = []
    while len(ends) < 2:
        returned(threads[0])
        for (ended, what), result in threads[0].landed():
            ended(what, result)
            ends.append(result)
    assert sorted(itt for itt in wire.landed if itt is not None) == [1, 2]
    for itt in (1, 2):
        wire.path.take_flight(itt, lambda *flight: None)
    wire.close()


def test_a_file_is_let_go_of_when_it_is_closed(module: ModuleType, threads: list[Any], tmp_path: Path) -> None:
    """A place of a ring keeps a file open, and its lock; and the next file may get its number."""
    from iscsitools.backstores import shortcut

    shortcut.share(module.settle, 2, lambda fd: [thread.forget(fd) for thread in threads] and None)
    for number in range(3):
        path = tmp_path / f"{number}"
        path.write_bytes(bytes([65 + number]) * SIZE)
        for _ in range(2):
            store = FileBackstore(str(path))
            store.open()  # which fails where the one before it still has the lock
            store._words[READ_FLAGS] = -1
            wire = FlyingWire(module, store)
            wire.lend(threads[0])
            wire.ours.sendall(wire.read(0, BLOCKS))
            assert wire.answers(1)[0][1] == bytes([65 + number]) * PAGE
            wire.take(threads[0].recall(wire.path))
            wire.close()
            store.close()
