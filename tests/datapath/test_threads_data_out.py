"""WRITEs whose data does not all come with them, in data threads, and while the connection goes to and fro."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator import Opcode

from .bench import BLOCK, NOP_OUT, Wire, returned, write10

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
NO_TAG = 0xFFFFFFFF
BURST = 16384
LENGTH = 65536


@pytest.fixture
def wire(module: ModuleType, ram: RamBackstore) -> Iterator[Wire]:
    made = Wire(module, ram)
    made.path.agree(262144, BURST, 4096, BURST, False, 2)
    yield made
    made.close()


def begin(wire: Wire, data: bytes, immediate: int = 0, final: bool = True) -> tuple[int, bytes]:
    """The tag of a WRITE of LENGTH bytes, and its bytes on the wire."""
    itt = wire.cmdsn
    flags = 0xA1 if final else 0x21
    cdb = write10(0, LENGTH // BLOCK)
    return itt, wire.pdu(cdb, data[:immediate], flags=flags, edtl=LENGTH)


def asked(bhs: bytes) -> tuple[int, int, int]:
    """TTT, offset and length of an R2T."""
    assert bhs[0] == Opcode.R2T
    (ttt,), (offset, length) = struct.unpack_from(">I", bhs, 20), struct.unpack_from(">II", bhs, 40)
    return ttt, offset, length


def content(store: RamBackstore) -> bytes:
    found = bytearray(LENGTH)
    store.read_into(0, memoryview(found))
    return bytes(found)


def write_all(wire: Wire, data: bytes, rng: random.Random, between: Any = lambda: None) -> bytes:
    """Write by R2Ts, whose data comes in pieces; ``between`` them something else is done. The response."""
    _, command = begin(wire, data)
    wire.ours.sendall(command)
    requests = [asked(bhs) for bhs, _ in wire.answers(2)]
    while True:
        ttt, offset, length = requests.pop(0)
        done, sn = 0, 0
        while done < length:
            part = min(length - done, rng.choice((512, 4096, 12288)))
            piece = data[offset + done : offset + done + part]
            wire.ours.sendall(wire.data_out(wire.cmdsn - 1, ttt, sn, offset + done, piece, done + part == length))
            done, sn = done + part, sn + 1
            between()
        if not requests or offset + 2 * length < LENGTH:
            ((bhs, _),) = wire.answers(1)
            if bhs[0] == Opcode.SCSI_RESPONSE:
                return bhs
            requests.append(asked(bhs))


def test_data_that_is_asked_for(wire: Wire, threads: list[Any], ram: RamBackstore) -> None:
    data = random.Random(1).randbytes(LENGTH)
    wire.lend(threads[0])
    response = write_all(wire, data, random.Random(2))
    assert (response[3], int.from_bytes(response[36:40], "big")) == (0, LENGTH // BURST)  # ExpDataSN: of R2Ts
    assert threads[0].guests == 1
    wire.take(threads[0].recall(wire.path))
    assert (content(ram), wire.path.transfers, wire.gate.transfers, wire.memory.held) == (data, 0, 0, 0)
    assert wire.path.written_bytes == LENGTH


def test_data_that_comes_unasked(wire: Wire, threads: list[Any], ram: RamBackstore) -> None:
    data = random.Random(3).randbytes(LENGTH)
    itt, command = begin(wire, data, immediate=4096, final=False)
    wire.lend(threads[0])
    wire.ours.sendall(command + wire.data_out(itt, NO_TAG, 0, 4096, data[4096:BURST], True))
    for _ in range((LENGTH - BURST) // BURST):
        ttt, offset, length = asked(wire.answers(1)[0][0])
        wire.ours.sendall(wire.data_out(itt, ttt, 0, offset, data[offset : offset + length], True))
    assert wire.answers(1)[0][0][0] == Opcode.SCSI_RESPONSE
    wire.take(threads[0].recall(wire.path))
    assert content(ram) == data


def test_a_connection_goes_to_and_fro_meanwhile(wire: Wire, threads: list[Any], ram: RamBackstore) -> None:
    """Between any two Data-Outs it is called back, looked at, and lent to the other thread."""
    held = set()
    at = [0]

    def between() -> None:
        wire.take(threads[at[0]].recall(wire.path))
        assert wire.memory.held == wire.path.awaited == LENGTH * wire.path.transfers
        assert [unit for _, unit in wire.path.pending()] == [0] * wire.path.transfers
        held.add(wire.memory.held)
        at[0] = 1 - at[0]
        wire.lend(threads[at[0]])
        assert wire.memory.held == 0

    wire.lend(threads[0])
    for seed in range(5):
        data = random.Random(seed).randbytes(LENGTH)
        write_all(wire, data, random.Random(seed), between)
        assert content(ram) == data
    assert LENGTH in held
    wire.take(threads[at[0]].recall(wire.path))
    assert (wire.gate.transfers, wire.memory.held) == (0, 0)


def test_what_was_kept_can_be_taken_over(wire: Wire, threads: list[Any]) -> None:
    data = random.Random(5).randbytes(LENGTH)
    itt, command = begin(wire, data, immediate=4096)
    wire.lend(threads[0])
    wire.ours.sendall(command)
    first = asked(wire.answers(2)[0][0])
    wire.ours.sendall(wire.data_out(itt, first[0], 0, first[1], data[first[1] :][:8192], False) + NOP_OUT)
    (rest,) = returned(threads[0])
    wire.take(rest)
    assert (wire.received[:1], wire.path.transfers) == (NOP_OUT[:1], 1)
    _, buffer, wanted, received, asked_for, r2tsn, _, sequences = wire.path.take_over(itt)
    assert (wanted, received, asked_for, r2tsn) == (LENGTH, 4096 + 8192, 4096 + 2 * BURST, 2)
    assert bytes(buffer[:received]) == data[:received]
    assert sequences[0][3:] == (8192, 1)
    assert wire.gate.transfers == 0


@pytest.mark.parametrize("why", ["closed", "wrong offset", "smaller"])
def test_what_cannot_be_written_at_once_goes_back(
    wire: Wire,
    threads: list[Any],
    ram: RamBackstore,
    why: str,
) -> None:
    before = content(ram)
    data = random.Random(6).randbytes(LENGTH)
    wire.path.agree(262144, 262144, 0, 262144, True, 1)
    itt, command = begin(wire, data)
    wire.lend(threads[0])
    wire.ours.sendall(command)
    ttt, _, length = asked(wire.answers(1)[0][0])
    assert length == LENGTH
    if why == "closed":
        wire.gate.write_open = False
    elif why == "smaller":
        wire.gate.blocks = 1
    last = wire.data_out(itt, ttt, 0, 512 if why == "wrong offset" else 0, data, True)
    wire.ours.sendall(last)
    (rest,) = returned(threads[0])
    wire.take(rest)
    while len(wire.received) < len(last):
        wire.received += wire.theirs.recv(len(last))
    assert wire.received == last
    assert (wire.path.transfers, wire.path.take_over(itt)[3]) == (1, 0)
    assert content(ram) == before


def test_a_path_that_is_lent_is_not_looked_at(wire: Wire, threads: list[Any]) -> None:
    wire.lend(threads[0])
    for call in (wire.path.pending, lambda: wire.path.take_over(1), lambda: wire.path.place_for(1, 1, 0, 1)):
        with pytest.raises(RuntimeError, match="a data thread has it"):
            call()
    wire.take(threads[0].recall(wire.path))


def test_who_wants_more_than_a_thread_holds_goes_back(
    module: ModuleType,
    wire: Wire,
    threads: list[Any],
    ram: RamBackstore,
) -> None:
    """32 MiB are promised to commands at most; nothing of that is there yet."""
    wires = [wire, *(Wire(module, ram, number) for number in range(2, 12))]
    cdb = write10(0, (4 << 20) // BLOCK)
    for each in wires:
        each.path.agree(262144, 65536, 0, 65536, True, 1)
        each.lend(threads[0])
        each.ours.sendall(each.pdu(cdb, flags=0xA1, edtl=4 << 20))
        asked(each.answers(1)[0][0])
    back = []
    while len(back) < 3:
        back += returned(threads[0])
    assert (len(back), threads[0].guests) == (3, 8)
    for rest in back:
        rest[0].take(rest)
        assert (rest[0].path.transfers, rest[0].memory.held) == (1, 4 << 20)
    for each in wires[:8]:
        each.take(threads[0].recall(each.path))
    for each in wires[1:]:
        each.close()
