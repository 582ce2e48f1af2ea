"""Long data segments in data threads, which receive them where they belong: cut anywhere, and taken to and fro."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator import Opcode
from iscsitools.iscsi.connection.digest import crc32c_wire

from .bench import BLOCK, Wire, returned, write10

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
LENGTH = 65536
HEADER = 48
PARTS = (0, 16384, LENGTH)
"""How much comes with the command: nothing, a part, all. The rest is asked for, in one Data-Out."""


def cuts(length: int) -> list[int]:
    """Where a PDU is cut: in and around its header and the digests, and anywhere between."""
    return [1, HEADER, HEADER + 1, HEADER + 4, HEADER + 5, 9000, length // 2, length - 5, length - 4, length - 1]


class Sender:
    """A connection, whose PDUs reach its thread in pieces."""

    def __init__(self, wire: Wire, threads: list[Any], digests: bool) -> None:
        self.wire = wire
        self.threads = threads
        self.at = 0
        self.digests = digests
        wire.path.header_digest = wire.path.data_digest = digests
        wire.path.agree(262144, LENGTH, LENGTH, LENGTH, True, 1)

    def pdu(self, pdu: bytes) -> bytes:
        """With its digests."""
        bhs, data = pdu[:HEADER], pdu[HEADER:]
        return bhs + crc32c_wire(bhs) + (data and data + crc32c_wire(data)) if self.digests else pdu

    def send(self, stream: bytes) -> None:
        """Send it, and see that the thread has received something of it."""
        heard = self.wire.path.heard
        self.wire.ours.sendall(stream)
        end = time.monotonic() + 60
        while self.wire.path.heard == heard:
            assert time.monotonic() < end
            time.sleep(0.0002)

    def answer(self) -> bytes:
        """The next one's header."""
        bhs = self.wire._exactly(HEADER)
        if self.digests:
            assert self.wire._exactly(4) == crc32c_wire(bhs)
        return bhs

    def move(self) -> None:
        """Call it back, and lend it to the other thread."""
        self.wire.take(self.threads[self.at].recall(self.wire.path))
        self.at = 1 - self.at
        self.wire.lend(self.threads[self.at])

    def write(self, data: bytes, part: int, send: Callable[[bytes], None]) -> None:
        """Write ``data``, of which a part comes with the command; its PDUs are sent by ``send``."""
        wire = self.wire
        flags = {"flags": 0xA1, "edtl": LENGTH}
        send(self.pdu(wire.pdu(write10(0, LENGTH // BLOCK), data[:part], **flags)))
        if part < LENGTH:
            bhs = self.answer()
            assert (bhs[0], int.from_bytes(bhs[40:44], "big")) == (Opcode.R2T, part)
            send(self.pdu(wire.data_out(wire.cmdsn - 1, int.from_bytes(bhs[20:24], "big"), 0, part, data[part:], True)))
        bhs = self.answer()
        assert (bhs[0], bhs[3]) == (Opcode.SCSI_RESPONSE, 0)


@pytest.fixture
def wire(module: ModuleType, ram: RamBackstore) -> Iterator[Wire]:
    made = Wire(module, ram)
    yield made
    made.close()


@pytest.fixture(params=[False, True], ids=["plain", "digests"])
def sender(request: pytest.FixtureRequest, wire: Wire, threads: list[Any]) -> Iterator[Sender]:
    made = Sender(wire, threads, request.param)
    wire.lend(threads[0])
    yield made
    if wire.path.commands and not wire.received:
        wire.take(threads[made.at].recall(wire.path))


def content(store: RamBackstore) -> bytes:
    found = bytearray(LENGTH)
    store.read_into(0, memoryview(found))
    return bytes(found)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("moves", [False, True], ids=["stays", "moves"])
def test_it_may_be_cut_anywhere(sender: Sender, ram: RamBackstore, part: int, moves: bool) -> None:
    """And what comes with the rest of it is served too: the next command is in the same piece."""
    wire = sender.wire
    for number, cut in enumerate(cuts(HEADER + LENGTH)):
        data = random.Random(number).randbytes(LENGTH)

        def send(pdu: bytes, cut: int = cut) -> None:
            for piece in (pdu[:cut], pdu[cut : cut + 20000], pdu[cut + 20000 :]):
                if piece:
                    sender.send(piece)
                    if moves:
                        sender.move()

        sender.write(data, part, send)
        assert content(ram) == data
        sender.move()
        assert wire.path.written_bytes == LENGTH * (number + 1)
    wire.take(sender.threads[sender.at].recall(wire.path))
    assert (wire.received, wire.path.transfers, wire.gate.transfers, wire.memory.held) == (b"", 0, 0, 0)
    wire.lend(sender.threads[sender.at])


def test_what_follows_it_is_served_with_it(sender: Sender, ram: RamBackstore) -> None:
    """Three writes, each cut in the middle of its segment by the piece that ends the one before."""
    wire = sender.wire
    filler = [bytes([number]) * LENGTH for number in (1, 2, 3)]
    stream = b"".join(sender.pdu(wire.write(number * 128, data)) for number, data in enumerate(filler))
    step = len(stream) // 3
    for at in (0, step // 2, step + step // 2, 2 * step + step // 2):
        end = {0: step // 2, step // 2: step + step // 2, step + step // 2: 2 * step + step // 2}.get(at)
        sender.send(stream[at:end])
    for _ in filler:
        assert sender.answer()[0] == Opcode.SCSI_RESPONSE
    found = bytearray(3 * LENGTH)
    ram.read_into(0, memoryview(found))
    assert bytes(found) == b"".join(filler)


def back(sender: Sender, stream: bytes) -> None:
    """It comes back, and all that was not served is there as it was sent."""
    wire = sender.wire
    (rest,) = returned(sender.threads[sender.at])
    wire.take(rest)
    while len(wire.received) < len(stream):
        wire.received += wire.theirs.recv(len(stream))
    assert wire.received == stream


@pytest.mark.parametrize("part", PARTS)
def test_what_cannot_be_written_goes_back_as_it_came(sender: Sender, ram: RamBackstore, part: int) -> None:
    """The gate is closed while the last PDU is on its way, behind which another command has come."""
    wire, before, streams = sender.wire, content(ram), []
    behind = sender.pdu(b"\x40\x80" + bytes(46))

    def send(pdu: bytes) -> None:
        streams.append(pdu)
        if len(streams) == 2 or part == LENGTH:
            sender.send(pdu[:20000])
            wire.gate.write_open = False
            wire.ours.sendall(pdu[20000:] + behind)
            back(sender, pdu + behind)
            raise StopIteration
        sender.send(pdu)

    with pytest.raises(StopIteration):
        sender.write(random.Random(1).randbytes(LENGTH), part, send)
    assert content(ram) == before
    if part < LENGTH:
        assert wire.path.take_over(wire.cmdsn - 1)[3] == part


@pytest.mark.parametrize("at", [HEADER, -1], ids=["header", "data"])
def test_a_wrong_digest_goes_back_as_it_came(wire: Wire, threads: list[Any], ram: RamBackstore, at: int) -> None:
    sender, before = Sender(wire, threads, True), content(ram)
    stream = bytearray(sender.pdu(wire.write(0, random.Random(2).randbytes(LENGTH))))
    stream[at] ^= 1
    wire.lend(threads[0])
    sender.send(bytes(stream[:20000]))
    wire.ours.sendall(stream[20000:])
    back(sender, bytes(stream))
    assert content(ram) == before


def test_a_connection_that_ends_in_it_goes_back(wire: Wire, threads: list[Any]) -> None:
    sender = Sender(wire, threads, False)
    stream = wire.write(0, bytes(LENGTH))[:20000]
    wire.lend(threads[0])
    sender.send(stream)
    wire.ours.close()
    (rest,) = returned(threads[0])
    wire.take(rest)
    assert wire.received == stream


@pytest.mark.parametrize("wrong", [{"itt": 77}, {"buffer_offset": 512}, {"data_sn": 3}, {"ttt": 99}])
def test_a_data_out_that_belongs_nowhere_goes_back(
    wire: Wire, threads: list[Any], ram: RamBackstore, wrong: dict[str, int]
) -> None:
    """Nothing of it is put into the command's data."""
    sender, before = Sender(wire, threads, False), content(ram)
    wire.lend(threads[0])
    sender.send(wire.pdu(write10(0, LENGTH // BLOCK), b"", flags=0xA1, edtl=LENGTH))
    ttt = int.from_bytes(sender.answer()[20:24], "big")
    names = {"itt": wire.cmdsn - 1, "ttt": ttt, "sn": wrong.get("data_sn", 0), "offset": wrong.get("buffer_offset", 0)}
    names |= {name: value for name, value in wrong.items() if name in ("itt", "ttt")}
    stream = wire.data_out(**names, data=bytes(range(256)) * 256, final=True)
    sender.send(stream[:20000])
    wire.ours.sendall(stream[20000:])
    back(sender, stream)
    assert content(ram) == before
    assert wire.path.take_over(wire.cmdsn - 1)[3] == 0
