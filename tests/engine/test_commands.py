"""Commands through the engine: the fast path and the task's way give the same answers, however the bytes arrive."""

from __future__ import annotations

import random

import pytest

from iscsitools.initiator import NO_TAG, Opcode, Pdu, encode_lun

from .harness import ManualExecutor, Target, read10, write10
from .test_data_sequences import sense


def fields(pdus: list[Pdu]) -> list[tuple[dict[str, int], bytes]]:
    return [(pdu.fields(), pdu.data) for pdu in pdus]


def mixed_work(wire) -> bytes:
    """Reads, writes and others of many sizes, in one piece."""
    rng = random.Random(1)
    data = bytearray()
    for _ in range(60):
        blocks = rng.choice((1, 8, 64, 129, 512))
        lba = rng.randrange(4096)
        if rng.random() < 0.5:
            data += wire.request(read10(lba, blocks), read=blocks * 512)
        else:
            payload = rng.randbytes(min(blocks, 128) * 512)
            data += wire.request(write10(lba, len(payload) // 512), write=payload)
        if rng.random() < 0.1:
            data += wire.request(bytes(6))
    return bytes(data)


def test_answers_do_not_depend_on_how_the_bytes_arrive():
    seen = []
    for piece in (0, 1, 7, 48, 49, 4096, 100_000):
        wire = Target().session()
        wire.feed(mixed_work(wire), piece)
        seen.append(fields(wire.receive()))
    assert len(seen[0]) > 60
    assert all(other == seen[0] for other in seen)


def test_the_fast_path_and_the_task_way_answer_alike():
    answers, disks = [], []
    for slow in (False, True):
        target = Target(slow=slow)
        wire = target.session()
        wire.feed(mixed_work(wire))
        answers.append(fields(wire.receive()))
        content = bytearray(target.size)
        target.store.read_into(0, memoryview(content))
        disks.append(bytes(content))
    assert disks[0] == disks[1]
    assert answers[0] == answers[1]


def test_a_read_ends_with_status_in_its_last_data_in():
    wire = Target().session()
    wire.command(write10(8, 2), write=bytes(range(256)) * 4)
    (answer,) = wire.command(read10(8, 2), read=1024)
    assert answer.opcode == Opcode.DATA_IN
    assert (answer.flags, answer.status, answer.residual) == (0x81, 0, 0)
    assert (answer.data_sn, answer.buffer_offset, answer.ttt) == (0, 0, NO_TAG)
    assert answer.data == bytes(range(256)) * 4
    assert (answer.exp_cmd_sn, answer.max_cmd_sn) == (wire.cmd_sn, wire.cmd_sn + 127)


def test_data_in_is_cut_to_what_the_initiator_takes_and_to_bursts():
    wire = Target().session({"MaxRecvDataSegmentLength": "3072", "MaxBurstLength": "8192"})
    answers = wire.command(read10(0, 40), read=20480)
    assert [(p.buffer_offset, p.data_length, p.data_sn) for p in answers] == [
        (0, 3072, 0), (3072, 3072, 1), (6144, 2048, 2), (8192, 3072, 3), (11264, 3072, 4), (14336, 2048, 5),
        (16384, 3072, 6), (19456, 1024, 7),
    ]  # fmt: skip
    assert [p.flags for p in answers] == [0, 0, 0x80, 0, 0, 0x80, 0, 0x81]
    assert [p.stat_sn for p in answers[:-1]] == [0] * 7


def test_statsn_counts_answers():
    wire = Target().session()
    numbers = [wire.command(bytes(6))[0].stat_sn, wire.command(read10(0, 1), read=512)[0].stat_sn]
    numbers += [wire.command(write10(0, 1), write=bytes(512))[0].stat_sn]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


@pytest.mark.parametrize(
    ("blocks", "edtl", "flags", "residual", "moved"),
    [(2, 1024, 0x81, 0, 1024), (2, 512, 0x85, 512, 512), (2, 2048, 0x83, 1024, 1024), (2, 700, 0x85, 324, 700)],
)
def test_read_residuals(blocks, edtl, flags, residual, moved):
    (answer,) = Target().session().command(read10(0, blocks), read=edtl)
    assert (answer.opcode, answer.flags, answer.residual, len(answer.data)) == (0x25, flags, residual, moved)


@pytest.mark.parametrize(
    ("sent", "blocks", "flags", "residual"), [(1024, 2, 0x80, 0), (512, 2, 0x84, 512), (1536, 2, 0x82, 512)]
)
def test_write_residuals(sent, blocks, flags, residual):
    target = Target()
    (answer,) = target.session().command(write10(0, blocks), write=b"x" * sent)
    assert (answer.opcode, answer.flags, answer.status, answer.residual) == (0x21, flags, 0, residual)
    content = bytearray(2048)
    target.store.read_into(0, memoryview(content))
    assert bytes(content) == b"x" * min(sent, blocks * 512) + bytes(2048 - min(sent, blocks * 512))


@pytest.mark.parametrize(
    ("cdb", "how"),
    [
        (read10(0, 1), {"write": b"x" * 512}),
        (read10(0, 1), {"edtl": 512, "writes": 1}),
    ],
)
def test_data_that_is_expected_in_the_other_direction_is_an_underflow_of_all_of_it(cdb, how):
    """GOOD without a residual would say that it has been moved."""
    target = Target()
    wire = target.session()
    (answer,) = wire.command(cdb, **how)
    assert (answer.opcode, answer.status, answer.data) == (0x21, 0, b"")
    assert (answer.flags, answer.residual) == (0x82, how.get("read", 512))
    assert target.buffers.reserved == 0
    assert wire.command(read10(0, 1), read=512)[0].data == bytes(512)


@pytest.mark.parametrize("cdb", [read10(0, 1), write10(0, 1)])
@pytest.mark.parametrize("flags", [0x81, 0xA1, 0xC1, 0xE1])
def test_who_expects_no_data_is_told_of_an_overflow(cdb, flags):
    (answer,) = Target().session().command(cdb, edtl=0, flags=flags)
    status = 2 if cdb[0] == 0x2A and not flags & 0x20 else 0
    assert (answer.opcode, answer.status, answer.flags, answer.residual) == (0x21, status, 0x84, 512)


VERIFY_DATA = b"\x2f\x02" + bytes(6) + b"\x02\0"
VERIFY_ONE_BLOCK = b"\x2f\x06" + bytes(6) + b"\x02\0"


@pytest.mark.parametrize(
    ("cdb", "how", "flags", "residual"),
    [
        (write10(0, 1), {"write": b"b" * 200}, 0x84, 312),
        (write10(0, 2), {"write": b"b" * 700}, 0x84, 324),
        (write10(0, 1), {"edtl": 200, "writes": 1}, 0x84, 312),
        (write10(0, 1), {"read": 512}, 0x82, 512),
        (write10(0, 1), {"read": 8192}, 0x82, 8192),
        (write10(0, 1), {"edtl": 0}, 0x84, 512),
        (VERIFY_DATA, {"write": b"b" * 200}, 0x84, 824),
        (VERIFY_DATA, {"edtl": 0}, 0x84, 1024),
        (VERIFY_ONE_BLOCK, {"write": b"b" * 200}, 0x84, 312),
        (b"\x2e" + write10(0, 1)[1:], {"write": b"b" * 200}, 0x84, 312),
    ],
)
def test_a_write_that_expects_a_part_of_a_block_or_the_other_direction_is_refused(cdb, how, flags, residual):
    """ILLEGAL REQUEST, INVALID FIELD IN COMMAND INFORMATION UNIT: nothing is written, the residual stays."""
    target = Target()
    target.store.write(0, memoryview(b"a" * 1024))
    wire = target.session()
    (answer,) = wire.command(cdb, **how)
    assert (answer.opcode, answer.status, answer.flags, answer.residual) == (0x21, 2, flags, residual)
    assert (answer.data[4] & 0xF, answer.data[14:16]) == (5, b"\x0e\x03")
    assert wire.command(read10(0, 2), read=1024)[0].data == b"a" * 1024
    assert target.buffers.reserved == 0


@pytest.mark.parametrize(
    ("cdb", "how", "flags", "residual", "written"),
    [
        (write10(0, 2), {"write": b"b" * 512}, 0x84, 512, 512),
        (write10(0, 1), {"write": b"b" * 700}, 0x82, 188, 512),
        (write10(0, 1), {"edtl": 0, "writes": 1}, 0x84, 512, 0),
    ],
)
def test_other_lengths_write_whole_blocks_with_a_residual(cdb, how, flags, residual, written):
    target = Target()
    wire = target.session()
    (answer,) = wire.command(cdb, **how)
    assert (answer.opcode, answer.status, answer.flags, answer.residual) == (0x21, 0, flags, residual)
    assert wire.command(read10(0, 2), read=1024)[0].data == b"b" * written + bytes(1024 - written)


def test_an_error_has_sense_data_and_the_whole_residual():
    wire = Target().session()
    (answer,) = wire.command(read10(0x7FFFFFFF, 1), read=512)
    assert (answer.opcode, answer.status, answer.flags, answer.residual) == (0x21, 2, 0x82, 512)
    assert int.from_bytes(answer.data[:2], "big") == len(answer.data) - 2
    assert (answer.data[4] & 0xF, answer.data[14], answer.data[15]) == (5, 0x21, 0)


def test_commands_of_a_slow_disk_are_answered_as_they_end():
    executor = ManualExecutor()
    target = Target(executor=executor, slow=True)
    wire = target.session()
    wire.feed(b"".join(wire.request(read10(n, 1), read=512) for n in range(3)))
    assert wire.receive() == []
    target.woken.clear()
    executor.run_one(2)
    executor.run_one(0)
    assert target.woken == [wire.conn] * 2
    assert [p.itt for p in wire.receive()] == [4, 2]
    executor.run_one(0)
    assert [p.itt for p in wire.receive()] == [3]


def test_no_memory_is_busy_and_not_growth():
    """One connection may hold as much as it leaves free; what it leaves is there for another."""
    target = Target(executor=ManualExecutor(), slow=True, memory=16384)
    wire, other = target.session(), target.session({"InitiatorName": "iqn.2026-11.example:other"})
    wire.feed(b"".join(wire.request(read10(0, 8), read=4096) for _ in range(3)))
    (answer,) = wire.receive()
    assert (answer.itt, answer.status) == (4, 8)
    assert target.buffers.reserved == 8192
    other.feed(b"".join(other.request(read10(0, 8), read=4096) for _ in range(2)))
    (answer,) = other.receive()
    assert (answer.itt, answer.status) == (3, 8)
    for _ in range(3):
        target.executor.run_one()
    assert [p.status for p in wire.receive() + other.receive()] == [0, 0, 0]
    assert target.buffers.reserved == 0
    assert [p.status for p in wire.command(read10(0, 32), read=16384)] == []
    target.executor.run_one()
    assert [p.status for p in wire.receive()] == [0]


def test_more_output_than_fits_waits_and_nothing_is_lost():
    wire = Target(size=64 << 20).session()
    wire.feed(b"".join(wire.request(read10(n * 512, 512), read=262144) for n in range(100)))
    assert wire.conn.stalled
    assert wire.conn.out.unsent() < 2 << 20
    answers = wire.receive()
    assert [p.itt for p in answers] == list(range(2, 102))
    assert all(p.data_length == 262144 and p.flags == 0x81 for p in answers)
    assert not wire.conn.stalled


def test_an_unknown_lun_is_a_sense_code():
    (answer,) = Target().session().command(read10(0, 1), read=512, lun=encode_lun(5))
    assert (answer.status, sense(answer)) == (2, (5, 0x25, 0))
