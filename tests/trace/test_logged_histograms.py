"""Histograms that are counted from a log of commands are those of the commands one by one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from iscsitools import trace
from iscsitools.trace.sums import histogram

from .support import Host, bhs, connection, logged_bhs


@pytest.mark.parametrize("spread", [0, 10, 1000, 1 << 14, 1 << 20, 1 << 45])
@pytest.mark.parametrize("least", [0, 1, 31, 131071, 1 << 30, -5, -(1 << 33)])
def test_many_values_are_counted_as_one_by_one(least: int, spread: int) -> None:
    """Few buckets or many, within sixteen octaves or not, of either sign."""
    rng = random.Random(least * 7 + spread)
    values = [least + rng.randint(0, spread) for _ in range(300)]
    expected = Counter(histogram.buckets(values))
    assert all(
        histogram.index_of(value) == bucket for value, bucket in zip(values, histogram.buckets(values), strict=True)
    )
    assert histogram.count(values) == expected
    counts = Counter({5: 1, histogram.buckets(values)[0]: 3})
    histogram.add(counts, values)
    assert counts == Counter({5: 1, histogram.buckets(values)[0]: 3}) + expected


def logged(host: Host, rng: random.Random, operations: list[int], luns: int, blocks: int, statsn: int) -> None:
    """Commands in stretches of several, as an engine's fast path adds them."""
    probes, conn = host.probes, connection()
    seen, itt = statsn, 0
    for _ in range(60):
        assert probes.log is not None
        assert probes.logged is not None
        log, began, first = probes.log(conn), probes.clock(), statsn
        assert log is not None
        for _ in range(rng.randrange(1, 30)):
            itt, operation = itt + 1, rng.choice(operations)
            log[0].append(probes.clock())
            length = rng.randint(1, blocks) if blocks < 8 else blocks
            place = rng.randrange(1 << 31), length, seen & 0xFFFFFFFF
            log[1].extend(logged_bhs(rng.randrange(luns), operation, itt, length * 512, *place))
            statsn, seen = statsn + 1, max(seen, statsn - rng.choice((0, 3, 31)))
        probes.logged(began, first & 0xFFFFFFFF, 0xFFFFFFFF)


def as_one_by_one(host: Host, rng: random.Random, operations: list[int], luns: int, blocks: int, statsn: int) -> None:
    """The same commands, each of which fires its events."""
    probes, conn = host.probes, connection()
    seen, itt = statsn, 0
    for _ in range(60):
        for _ in range(rng.randrange(1, 30)):
            itt, operation = itt + 1, rng.choice(operations)
            length = rng.randint(1, blocks) if blocks < 8 else blocks
            place = rng.randrange(1 << 31), length, seen & 0xFFFFFFFF
            lun = rng.randrange(luns)
            request = bytearray(logged_bhs(lun, operation, itt, length * 512, *place))
            write = operation & 0x1F00 == 0x0A00
            request[1], request[5:8] = (0xA0, (length * 512).to_bytes(3, "big")) if write else (0xC0, bytes(3))
            probes.pdu(6, conn, lun, request, 0, bytes(request[32:]))
            moved = (0x21, 0x80, itt, 0) if write else (0x25, 0x81, itt, length * 512)
            answer = bhs(*moved, numbers=(statsn & 0xFFFFFFFF, 0, 0, 0, 0, 0))
            probes.pdu(7 if write else 8, conn, lun, answer)
            statsn, seen = statsn + 1, max(seen, statsn - rng.choice((0, 3, 31)))


@pytest.mark.parametrize("statsn", [1, 1000, (1 << 32) - 400])
@pytest.mark.parametrize("blocks", [3, 8])
@pytest.mark.parametrize("luns", [1, 3])
@pytest.mark.parametrize("operations", [[0x2800], [0x8800], [0x2800, 0x2A00], [0x2800, 0x8A00]])
def test_a_long_log_is_sorted_as_its_commands_one_by_one(
    make_host: Callable[..., Host], operations: list[int], luns: int, blocks: int, statsn: int
) -> None:
    """Alike or not: one row or several, one length or several, CDBs of 10 and 16 bytes, numbers that begin anew."""
    found = []
    for name, work in (("log", logged), ("each", as_one_by_one)):
        host = make_host(name=name, tracers=None)
        with trace.Sums(name=name, histograms=["size", "lba", "seek", "depth"]) as sums:
            host.call(lambda host=host, work=work: work(host, random.Random(7), operations, luns, blocks, statsn))
            rows = sums.snapshot().commands
        found.append({
            (row.lun, row.opcode): (
                row.commands, row.ended, row.in_bytes, row.out_bytes, row.in_pdus, row.out_pdus, row.histograms,
            )
            for row in rows
        })  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) == luns * len(operations)
