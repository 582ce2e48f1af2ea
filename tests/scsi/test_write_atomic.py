"""WRITE ATOMIC(16) at the device server; that it is atomic is shown in tests/server and tests/torture."""

from __future__ import annotations

import struct

import pytest

from .support import Bench


class Writer:
    """Writes blocks atomically, as far as it says."""

    longest = 8 * 512

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []

    def write(self, store, offset, data):
        self.written.append((offset, bytes(data)))
        store.write_through(offset, data)


def write(lba: int, blocks: int, boundary: int = 0) -> bytes:
    return struct.pack(">BBQHHBB", 0x9C, 0, lba, boundary, blocks, 0, 0)


@pytest.fixture
def atomic():
    bench = Bench()
    bench.unit.take_atomic(Writer())
    return bench


def test_all_blocks_go_to_what_makes_them_atomic(atomic):
    a = atomic.initiator()
    data = bytes(range(256)) * 4
    assert a.run(write(5, 2), data).good
    assert atomic.unit.atomic.written == [(5 * 512, data)]
    assert a.run("28000000000500000200").data == data
    assert a.run(write(5, 0)).good
    limits = a.run("1201b0004000").data
    assert struct.unpack_from(">5I", limits, 44) == (8, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("cdb", "data", "code"),
    [
        (write(0, 9), bytes(9 * 512), (5, 0x2400)),
        (write(0, 2, boundary=1), bytes(1024), (5, 0x2400)),
        (write(255, 9), bytes(9 * 512), (5, 0x2100)),
        (write(0, 2), bytes(512), (5, 0x0E03)),
    ],
)
def test_what_would_not_be_whole_is_refused(atomic, cdb, data, code):
    a = atomic.initiator()
    assert a.run(cdb, data).code == code
    assert atomic.unit.atomic.written == []


def test_where_nothing_makes_it_true_there_is_no_such_command():
    assert Bench().initiator().run(write(0, 1), bytes(512)).code == (5, 0x2000)
