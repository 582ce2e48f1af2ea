"""UNMAP, WRITE SAME, GET LBA STATUS."""

from __future__ import annotations

import struct

import pytest

from iscsitools.backstores.base import Allocation, Extent

from .support import Bench, MemoryStore

STATUS = "9e12{:016x}{:08x}0000"


def unmap_list(*ranges: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in ranges)
    return struct.pack(">HH4x", len(body) + 6, len(body)) + body


def unmap(initiator, *ranges: tuple[int, int]):
    data = unmap_list(*ranges)
    return initiator.run(b"\x42" + bytes(6) + len(data).to_bytes(2, "big") + b"\0", data)


@pytest.fixture
def bench():
    bench = Bench(thin=True)
    bench.store.write(0, memoryview(b"\xaa" * bench.store.size))
    bench.store.calls.clear()
    return bench


def test_unmap_discards_its_ranges(bench):
    a = bench.initiator()
    assert unmap(a, (8, 8), (24, 16)).good
    assert bench.store.calls == ["discard", "discard"]
    assert bench.store.data[8 * 512 : 16 * 512] == bytes(8 * 512)
    assert bench.store.data[16 * 512 : 24 * 512] == b"\xaa" * 8 * 512


def test_unmap_changes_nothing_when_one_range_is_bad(bench):
    assert unmap(bench.initiator(), (8, 8), (250, 7)).code == (5, 0x2100)
    assert bench.store.calls == []


def test_unmap_of_nothing_is_good(bench):
    a = bench.initiator()
    assert unmap(a).good
    assert unmap(a, (256, 0)).good
    assert a.run("42000000000000000000").good
    assert bench.store.calls == []


def test_unmap_lists_of_a_wrong_length(bench):
    a = bench.initiator()
    assert a.run("42000000000000000400", bytes(4)).code == (5, 0x1A00)
    assert a.run("42000000000000001800", unmap_list((0, 8))[:20]).code == (5, 0x1A00)
    assert a.run("42000000000000001800", b"\x00\x2e\x00\x20" + bytes(20)).code == (5, 0x1A00)
    assert a.run("42010000000000001800", unmap_list((0, 8))).code == (5, 0x2400)


def test_unmap_is_durable_when_the_cache_is_off():
    bench = Bench(thin=True, write_cache=False)
    assert unmap(bench.initiator(), (8, 8)).good
    assert bench.store.calls == ["discard", "flush"]


@pytest.mark.parametrize("cdb", ["41{:02x}0000000800000800", "93{:02x}0000000000000008000000080000"])
def test_write_same(bench, cdb):
    a = bench.initiator()
    assert a.run(cdb.format(0), b"\x55" * 512).good
    assert bench.store.data[8 * 512 : 16 * 512] == b"\x55" * 4096
    assert a.run(cdb.format(0), bytes(512)).good
    assert bench.store.calls[-1] == "write_zeroes"
    assert a.run(cdb.format(8), bytes(512)).good
    assert bench.store.calls[-1] == "discard"
    assert a.run(cdb.format(8), b"\x01" * 512).good
    assert bench.store.calls[-1] == "write"
    for bad in (b"", bytes(256), bytes(1024)):
        assert a.run(cdb.format(0), bad).code == (5, 0x2400)
    assert bench.store.data[16 * 512] == 0xAA


def test_write_same_without_data_out(bench):
    a = bench.initiator()
    assert a.run("93090000000000000008000000080000", edtl=0).good
    assert bench.store.calls == ["discard"]
    assert a.run("41090000000800000800", edtl=0).code == (5, 0x2400)


def test_write_same_of_0_blocks_goes_to_the_end(bench):
    a = bench.initiator()
    assert a.run("4100000000f000000000", b"\x77" * 512).good
    assert bench.store.data[0xF0 * 512 :] == b"\x77" * 16 * 512
    assert bench.store.data[0xEF * 512] == 0xAA
    assert a.run("41000000010000000000", b"\x77" * 512).code == (5, 0x2100)


def test_write_same_beyond_its_maximum(bench):
    bench.unit.blocks = 1 << 20
    answer = bench.initiator().run("93000000000000000000000100000000", bytes(512))
    assert (answer.code, answer.sense[15:18].hex()) == ((5, 0x2400), "cf000a")
    assert bench.initiator().run("41000000000000000000", bytes(512)).code == (5, 0x2400)


def test_write_same_with_unmap_needs_a_thin_unit():
    answer = Bench().initiator().run("41080000000800000800", bytes(512))
    assert (answer.code, answer.sense[15:18].hex()) == ((5, 0x2400), "cb0001")


def test_lba_status_merges_what_is_equal(bench):
    a = bench.initiator()
    unmap(a, (16, 16))
    data = a.run(STATUS.format(9, 4096)).data
    assert data[:8].hex() == "0000003400000000"
    found = [struct.unpack(">QIB3x", data[at : at + 16]) for at in range(8, len(data), 16)]
    assert found == [(9, 7, 0), (16, 16, 1), (32, 224, 0)]


def test_lba_status_fits_the_allocation_length(bench):
    a = bench.initiator()
    unmap(a, (16, 16))
    assert len(a.run(STATUS.format(0, 24)).data) == 24
    assert len(a.run(STATUS.format(0, 12)).data) == 12
    assert a.run(STATUS.format(0, 0)).data == b""
    assert a.run(STATUS.format(256, 24)).code == (5, 0x2100)


class Huge(MemoryStore):
    """Says that it is a hole of 5 TiB."""

    @property
    def size(self) -> int:
        return 5 << 40

    def extents(self, offset: int, length: int):
        yield Extent(offset, length, Allocation.HOLE)


def test_lba_status_of_more_blocks_than_a_descriptor_can_say():
    data = Bench(Huge(), thin=True).initiator().run(STATUS.format(0, 4096)).data
    found = [struct.unpack(">QIB3x", data[at : at + 16]) for at in range(8, len(data), 16)]
    most = 0xFFFFFFFF
    assert found == [(0, most, 1), (most, most, 1), (2 * most, (5 << 31) - 2 * most, 1)]
