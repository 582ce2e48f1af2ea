"""Bounds on what waits to be sent."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Iterator

import pytest

from iscsitools.backstores.base import MappedRange
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator import NO_TAG, Opcode, make_bhs
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT

from .harness import Target, read10, write10


def test_long_reads_wait_for_the_output():
    target = Target(size=64 << 20)
    wire = target.session()
    wire.feed(b"".join(wire.request(read10(n * 512, 512), read=262144) for n in range(100)))
    conn = wire.conn
    assert conn.stalled
    served = 0
    while conn.out.unsent() or conn.stalled or conn.unfinished:
        assert conn.out.unsent() <= OUTPUT_LIMIT + 262144 + 48
        pieces = conn.output()
        served += sum(map(len, pieces))
        conn.sent(sum(map(len, pieces)), target.now)
        if conn.stalled or conn.unfinished:
            conn.go_on(target.now)
    assert served == 100 * (262144 + 48)


def a_read_and_what_is_written_behind_it(length: int, write_first: int) -> bytes:
    """Data of a READ of which a part has gone out when something else is written there; it may not be seen."""
    target = Target(size=4 << 20)
    wire, other = target.session(), target.session(isid=0x400001370002)
    target.store.write(0, memoryview(b"o" * length))
    wire.feed(wire.request(read10(0, length // 512), read=length))
    first = b"".join(wire.conn.output())[:write_first]
    wire.conn.sent(len(first), target.now)
    for at in range(0, length, 65536):
        data = b"n" * min(65536, length - at)
        assert other.command(write10(at // 512, len(data) // 512), write=data)[0].status == 0
    rest = b""
    while pieces := wire.conn.output():
        rest += b"".join(pieces)
        wire.conn.sent(sum(map(len, pieces)), target.now)
    return (first + rest)[48:]


@pytest.mark.parametrize("length", [4096, 65536, 262144])
@pytest.mark.parametrize("write_first", [0, 100, 1448, 4000])
def test_a_later_write_never_shows_in_a_read_that_is_being_sent(length: int, write_first: int) -> None:
    assert a_read_and_what_is_written_behind_it(length, write_first) == b"o" * length


class MappedDisk(RamBackstore):
    """Lends long reads, and counts what is lent: while anything is, nothing may be written."""

    lent = 0
    taken = 0

    def try_map(self, offset: int, length: int) -> MappedRange | None:
        data = bytearray(length)
        self.read_into(offset, memoryview(data))
        MappedDisk.lent += 1
        MappedDisk.taken += 1

        def release() -> None:
            MappedDisk.lent -= 1
            data[:] = bytes(length)  # who still looks at it sees that

        return MappedRange(memoryview(data), release)

    def write(self, offset: int, buffer: memoryview) -> None:
        assert not self.lent
        super().write(offset, buffer)


@pytest.fixture
def lender() -> Iterator[Target]:
    target = Target(size=4 << 20)
    target.store.write(0, memoryview(random.Random(5).randbytes(4 << 20)))
    target.store.__class__ = MappedDisk
    MappedDisk.lent = MappedDisk.taken = 0
    yield target
    assert MappedDisk.lent == 0


@pytest.mark.parametrize("digest", ["None", "CRC32C"])
@pytest.mark.parametrize("step", [1, 47, 48, 1000, 131119, 131120, 1 << 20])
def test_data_that_a_store_lends_is_sent_or_copied_before_the_next_command(lender: Target, step: int, digest: str):
    """Reads and writes of the same blocks in one event, to a socket that takes ``step`` bytes, and later the rest."""
    before = bytearray(131072)
    lender.store.read_into(0, memoryview(before))
    wire = lender.session({"HeaderDigest": digest})
    work = [wire.request(read10(0, 256), read=131072)]
    for number in range(3):
        work.append(wire.request(write10(0, 8), write=bytes([number]) * 4096))
        work.append(wire.request(read10(0, 256), read=131072))
    buffer = wire.conn.get_buffers()[0]
    whole = b"".join(work)
    buffer[: len(whole)] = whole
    wire.conn.received(len(whole), lender.now)
    out = b""
    while wire.conn.out.unsent() or wire.conn.stalled:
        data = b"".join(wire.conn.output())[:step]
        out += data
        wire.conn.sent(len(data), lender.now)
        assert MappedDisk.lent == 0
        if step < 1000:
            step = 1 << 20
        if wire.conn.stalled and not wire.conn.out.unsent():
            wire.conn.go_on(lender.now)
    assert MappedDisk.taken == 4
    head = 48 if digest == "None" else 52
    for number in range(4):
        data = out[head : head + 131072]
        assert data == (bytes([number - 1]) * 4096 + before[4096:] if number else before)
        out = out[head + 131072 + head :]
    assert not out


def test_what_is_lent_to_a_connection_that_goes_away_is_given_back(lender: Target):
    wire = lender.session()
    wire.feed(wire.request(read10(0, 256), read=131072))
    assert MappedDisk.lent == 1
    wire.conn.closed()
    assert MappedDisk.lent == 0


def pings(keep: int) -> tuple[str, int]:
    """16 MB of answers, of which ``keep`` bytes always stay unsent: what went out, and the memory that is in use."""
    target = Target()
    wire = target.session()
    sent = hashlib.sha256()

    def send(count: int) -> None:
        sent.update(b"".join(wire.conn.output())[:count])
        wire.conn.sent(count, target.now)

    tracemalloc.start()
    try:
        for number in range(2000):
            bhs = make_bhs(Opcode.NOP_OUT, immediate=True, itt=number, ttt=NO_TAG, data_length=8000)
            wire.feed(bhs + bytes([number & 0xFF]) * 8000)
            if wire.conn.out.unsent() > 100_000:
                send(wire.conn.out.unsent() - keep)
        memory = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    send(wire.conn.out.unsent())
    return sent.hexdigest(), memory


def test_output_that_is_never_empty_keeps_no_more_memory_than_is_unsent():
    at_once, _ = pings(0)
    in_parts, memory = pings(20_000)
    assert in_parts == at_once
    assert memory < 4 << 20
