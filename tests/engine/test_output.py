"""Bounds on what waits to be sent."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from iscsitools.backstores.file import FileBackstore
from iscsitools.initiator import NO_TAG, Opcode, make_bhs
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT

from . import harness
from .harness import Target, Wire, read10, write10


@pytest.fixture(autouse=True)
def no_sockets(twin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests look at what waits to be sent, and a socket would take it."""
    monkeypatch.setattr(harness, "wire", Wire)


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


class BlockingFile(FileBackstore):
    """Without io_uring, which stores that derive from this one do not have: this target has nobody who would reap."""


@pytest.mark.parametrize("length", [4096, 131072, 262144, 524288])
def test_a_file_that_is_cut_behind_a_header_does_not_take_its_data_along(tmp_path: Path, length: int) -> None:
    """What an answer says was read is in it before its header can go out, however long it is."""
    disk = BlockingFile(str(tmp_path / "disk"), size=1 << 20)
    disk.open()
    disk.write(0, memoryview(b"o" * length))
    keys = {"MaxRecvDataSegmentLength": "1048576", "MaxBurstLength": "1048576"}
    wire = Target(disk=disk).session(keys)
    wire.feed(wire.request(read10(0, length // 512), read=length) + wire.request(read10(0, 8), read=4096))
    os.truncate(tmp_path / "disk", 0)
    first, *later = wire.receive()
    assert (first.status, first.data) == (0, b"o" * length)
    assert [answer.status for answer in later] == [0]
    answer = wire.command(read10(0, length // 512), read=length)[-1]
    assert (answer.status, answer.data[4] & 0xF, answer.data[14]) == (2, 3, 0x11)
    disk.close()


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
