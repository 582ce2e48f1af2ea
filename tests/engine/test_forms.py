"""Forms of READ and WRITE that the data path answers, and those that it leaves: the same answers from both."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from iscsitools.initiator.pdu import Pdu
from iscsitools.iscsi.requests.dispatch import Dispatcher

from .harness import Target, Wire

SIZE = 4 << 20


def read6(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([0x08]) + lba.to_bytes(3, "big") + bytes([blocks & 0xFF, 0])


def read10(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([0x28, flags]) + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


def read12(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([0xA8, flags]) + lba.to_bytes(4, "big") + blocks.to_bytes(4, "big") + b"\0\0"


def read16(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([0x88, flags]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + b"\0\0"


Maker = Callable[[int, int, int], bytes]
READS: tuple[Maker, ...] = (read6, read10, read12, read16)


def as_write(cdb: bytes) -> bytes:
    return bytes([cdb[0] | 2]) + cdb[1:]


class Counting:
    """Counts the PDUs that come to the requests' side."""

    def __init__(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        take = target.dispatcher.take

        def counted(*arguments: object) -> None:
            self.count += 1
            take(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Dispatcher, "take", lambda self, *arguments: counted(*arguments))


def filled(**how: object) -> Target:
    target = Target(size=SIZE, **how)  # type: ignore[arg-type]
    target.store.write(0, memoryview(random.Random(7).randbytes(SIZE)))
    return target


def content(target: Target, offset: int, length: int) -> bytes:
    found = bytearray(length)
    target.store.read_into(offset, memoryview(found))
    return bytes(found)


@pytest.mark.parametrize(
    ("make", "flags", "attribute"),
    [(make, flags, attribute) for make in READS for flags, attribute in ((0, 1), (0, 0), (0, 3))]
    + [(make, 0x10, 1) for make in READS[1:]],  # READ(6) has no DPO
)
def test_forms_that_are_answered_at_once(make: Maker, flags: int, attribute: int, monkeypatch) -> None:
    target = filled()
    wire = target.session()
    counting = Counting(target, monkeypatch)
    for lba, blocks in ((0, 8), (5, 1), (100, 256)):
        length = blocks * 512
        wire.feed(wire.request(make(lba, blocks, flags), read=length, flags=0xC0 | attribute))
        answers = wire.receive()
        assert b"".join(p.data for p in answers) == content(target, lba * 512, length)
        assert (answers[-1].status, answers[-1].flags & 1) == (0, 1)
    for lba, blocks in ((3, 8), (200, 32)):
        data = random.Random(lba).randbytes(blocks * 512)
        wire.feed(wire.request(as_write(make(lba, blocks, flags)), write=data, flags=0xA0 | attribute))
        assert [p.status for p in wire.receive()] == [0]
        assert content(target, lba * 512, len(data)) == data
    assert counting.count == 0


def test_fua_reads_nothing_that_would_be_lost(monkeypatch) -> None:
    """At once while all that was written is durable, else by a task, which flushes first."""
    target = filled()
    wire = target.session()
    counting = Counting(target, monkeypatch)
    unflushed = False
    monkeypatch.setattr(type(target.store), "unflushed", property(lambda store: unflushed))
    assert wire.command(read10(0, 8, 0x08), read=4096)[0].status == 0
    assert counting.count == 0
    unflushed = True
    assert wire.command(read10(0, 8, 0x08), read=4096)[0].status == 0
    assert counting.count == 1
    assert wire.command(as_write(read10(0, 8, 0x08)), write=bytes(4096))[0].status == 0
    assert counting.count == 2


@pytest.mark.parametrize(
    ("cdb", "attribute", "status"),
    [
        (read10(0, 8, 0x20), 1, 2),  # RDPROTECT
        (read10(0, 8, 0x01), 1, 2),  # a reserved bit
        (read6(0, 8)[:1] + b"\x20" + read6(0, 8)[2:], 1, 2),  # a reserved bit above the LBA
        (read12(0, 8)[:11] + b"\x04", 1, 2),  # NACA
        (read16(1 << 40, 8), 1, 2),  # beyond the end
        (b"\x48" + read10(0, 8)[1:], 1, 2),  # no READ
        (read10(0, 8), 4, 2),  # ACA
    ],
)
def test_what_is_left_to_a_task(cdb: bytes, attribute: int, status: int, monkeypatch) -> None:
    target = filled()
    wire = target.session()
    counting = Counting(target, monkeypatch)
    wire.feed(wire.request(cdb, read=4096, flags=0xC0 | attribute))
    assert wire.receive()[-1].status == status
    assert counting.count == 1


def in_parts(wire: Wire, lba: int, blocks: int) -> list[Pdu]:
    wire.feed(wire.request(read10(lba, blocks), read=blocks * 512))
    return wire.receive()


@pytest.mark.parametrize("segment", ["512", "8192", "65536", "8188", "8191"])
@pytest.mark.parametrize("burst", ["16384", "65536", "262144"])
def test_several_data_ins_are_those_of_a_task(segment: str, burst: str, monkeypatch) -> None:
    keys = {"MaxRecvDataSegmentLength": segment, "MaxBurstLength": burst, "FirstBurstLength": "512"}
    target = filled()
    wire, slow = target.session(keys), target.session(keys, isid=0x400001370002)
    assert slow.conn.path is not wire.conn.path
    slow.conn.path.in_order = False  # so it answers nothing
    counting = Counting(target, monkeypatch)
    for lba, blocks in ((0, 1), (1, 129), (64, 1000)):
        before = counting.count
        found = in_parts(wire, lba, blocks)
        assert b"".join(p.data for p in found) == content(target, lba * 512, blocks * 512)
        if segment != "8191":
            assert counting.count == before
        other = in_parts(slow, lba, blocks)
        skip = wire.conn.path.statsn - slow.conn.path.statsn
        assert [p.bhs[:24] + p.bhs[28:] for p in found] == [p.bhs[:24] + p.bhs[28:] for p in other]
        assert [p.data for p in found] == [p.data for p in other]
        assert found[-1].stat_sn - other[-1].stat_sn == skip
        assert all(p.stat_sn == 0 for p in found[:-1])


@pytest.mark.parametrize("digest", [{"HeaderDigest": "CRC32C"}, {"DataDigest": "CRC32C"}])
def test_with_digests_a_task_makes_them(digest: dict[str, str]) -> None:
    target = filled()
    wire = target.session({"MaxRecvDataSegmentLength": "8192"} | digest)
    found = in_parts(wire, 3, 100)
    assert b"".join(p.data for p in found) == content(target, 3 * 512, 51200)


def test_many_reads_in_parts_fill_the_output_and_go_on() -> None:
    target = filled()
    wire = target.session({"MaxRecvDataSegmentLength": "8192"})
    wire.feed(b"".join(wire.request(read10(n, 512), read=262144) for n in range(40)))
    found = wire.receive()
    assert len(found) == 40 * 32
    assert b"".join(p.data for p in found) == b"".join(content(target, n * 512, 262144) for n in range(40))


@pytest.mark.parametrize("segment", ["16777212", "262144", "1024", "512"])
def test_a_mib_is_read_by_the_data_path(segment: str, monkeypatch) -> None:
    target = filled()
    wire = target.session({"MaxRecvDataSegmentLength": segment, "MaxBurstLength": "16777212"})
    counting = Counting(target, monkeypatch)
    for lba in (1, 2):
        found = in_parts(wire, lba, 2048)
        assert b"".join(p.data for p in found) == content(target, lba * 512, 1 << 20)
        assert [p.status for p in found if p.bhs[1] & 1] == [0]
    assert counting.count == 0
    assert found[-1].stat_sn + 1 == wire.conn.path.statsn


def test_headers_that_have_no_room_beside_their_data_are_a_tasks(monkeypatch) -> None:
    target = filled()
    wire = target.session({"MaxRecvDataSegmentLength": "512", "MaxBurstLength": "512", "FirstBurstLength": "512"})
    counting = Counting(target, monkeypatch)
    assert b"".join(p.data for p in in_parts(wire, 3, 2048)) == content(target, 3 * 512, 1 << 20)
    assert counting.count == 1
    assert b"".join(p.data for p in in_parts(wire, 3, 1024)) == content(target, 3 * 512, 512 << 10)
    assert counting.count == 1


def test_more_forms_than_are_remembered_are_answered_all_the_same(monkeypatch) -> None:
    target = filled()
    wire = target.session({"FirstBurstLength": "262144"})
    counting = Counting(target, monkeypatch)
    for _ in range(2):
        for blocks in range(1, 512):
            wire.feed(wire.request(as_write(read10(0, blocks)), write=bytes(blocks * 512), flags=0xA1 - blocks % 2))
            assert wire.receive()[0].status == 0
    assert counting.count == 0


GROUP_NUMBER = {read10: 6, read12: 10, read16: 14}
"""The byte whose lower five bits are it: a disk without GROUP_SUP ignores it (SBC-3 5.11). The others are reserved."""
CONTROL = {read6: 5, read10: 9, read12: 11, read16: 15}


def bits() -> list[tuple[Maker, int, int]]:
    """Each bit of the CDB that is no part of what a form asks for; its form, its byte, itself."""
    return [(make, places[make], 1 << bit) for places in (GROUP_NUMBER, CONTROL) for make in places for bit in range(8)]


@pytest.mark.parametrize("writes", [False, True], ids=["read", "write"])
def test_a_bit_that_means_nothing_here_is_an_error_in_every_form(writes: bool) -> None:
    wire = filled().session()
    for make, byte, bit in bits():
        cdb = bytearray(make(0, 1, 0))
        cdb[byte] |= bit
        sent = as_write(bytes(cdb)) if writes else bytes(cdb)
        (answer,) = wire.command(sent, **({"write": bytes(512)} if writes else {"read": 512}))
        if GROUP_NUMBER.get(make) == byte and bit <= 0x10:
            assert answer.status == 0, (make, byte, bit)
        else:
            assert (answer.status, answer.data[4] & 0xF, answer.data[14]) == (2, 5, 0x24), (make, byte, bit)
