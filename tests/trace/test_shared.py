"""Readers of the same sums share one attachment, and each sees what it would see alone."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable
from types import ModuleType

import pytest

from iscsitools import trace
from iscsitools.probes.firing import Probes
from iscsitools.probes.table import Probe
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.connection_cells import ConnectionCells
from iscsitools.trace.sums.declared import NAMES
from iscsitools.trace.sums.shared import SharedSums

from .support import READ10, Host, bhs, connection, fire_read, fire_write


def subscribers(host: Host) -> int:
    return len(host.call(lambda: host.probes._calls))


def reads(snapshot: trace.Snapshot) -> int:
    return sum(row.commands for row in snapshot.commands)


def test_ten_readers_are_one_subscriber(host: Host) -> None:
    readers = [trace.Sums(histograms=NAMES) for _ in range(10)]
    assert subscribers(host) == 1
    host.call(lambda: [fire_read(host.probes, connection(1), n) for n in range(13)])
    for reader in readers:
        assert reads(reader.snapshot()) == 13
    for reader in readers[1:]:
        reader.close()
    host.wait_until(lambda: len(host.server._peers) == 1)
    assert subscribers(host) == 1
    assert reads(readers[0].snapshot()) == 13
    readers[0].close()
    host.wait_until(lambda: host.probes.mask == 0)


@pytest.mark.parametrize(
    ("one", "other"), [({"lun": 1}, {}), ({"histograms": ["size"]}, {}), ({"client": "192.0.2.7"}, {"client": "::1"})]
)
def test_who_wants_something_else_has_an_attachment_of_its_own(
    host: Host, one: dict[str, object], other: dict[str, object]
) -> None:
    with trace.Sums(**one), trace.Sums(**other):  # type: ignore[arg-type]
        assert subscribers(host) == 2


def test_each_has_its_own_beginning_and_its_own_resets(make_host: Callable[..., Host]) -> None:
    """Two readers that ask at different times, and one that comes later: as if each had counted for itself."""
    ticks = itertools.count(1_000_000, 1000)
    host = make_host(clock=lambda: next(ticks))
    conn = connection(1)

    def work(count: int) -> None:
        host.call(lambda: [fire_read(host.probes, conn, n, size=512) for n in range(count)])

    with trace.Sums(histograms=["depth"]) as first, trace.Sums(histograms=["depth"]) as second:
        work(3)
        assert reads(first.snapshot(reset=True)) == 3
        work(5)
        assert reads(first.snapshot()) == 5
        with trace.Sums(histograms=["depth"]) as third:
            work(7)
            assert reads(third.snapshot(reset=True)) == 7
            assert third.snapshot(reset=True).commands == []
        (row,) = second.snapshot().commands
        assert (row.commands, row.ended, row.in_bytes) == (15, 15, 15 * 512)
        assert (row.latency, row.maximum, sum(row.histogram.values())) == (15_000, 1000, 15)
        assert sum(row.histograms["depth"].counts.values()) == 15
        assert reads(first.snapshot(reset=True)) == 12
        assert reads(second.snapshot(reset=True)) == 15
        assert first.snapshot().commands == second.snapshot().commands == []


def test_the_longest_is_the_longest_since_the_reset(make_host: Callable[..., Host]) -> None:
    now = 0
    host = make_host(clock=lambda: now)
    conn = connection(1)

    def read(took: int) -> None:
        nonlocal now
        now += 1000
        host.call(lambda: host.probes.pdu(6, conn, 0, COMMAND, 0, COMMAND[32:42]))
        now += took
        host.call(lambda: host.probes.pdu(8, conn, 0, ANSWER))

    with trace.Sums() as patient, trace.Sums() as hasty:
        for took in (900, 400):
            read(took)
            (row,) = hasty.snapshot(reset=True).commands
            assert row.maximum == took
        (row,) = patient.snapshot().commands
        assert row.maximum == 900


COMMAND = bytes.fromhex("01c00000000000000000000000000000000000010000020000000001000000012800") + bytes(14)
ANSWER = bytes.fromhex("2581000000000200") + bytes(8) + bytes.fromhex("00000001ffffffff") + bytes(24)


def test_a_reader_that_never_asks_keeps_little_and_loses_nothing(host: Host) -> None:
    with trace.Sums() as silent, trace.Sums() as asking:
        for number in range(60):
            conn = connection(1 + number % 3)
            host.call(lambda conn=conn: fire_write(host.probes, conn, 1))
            asking.snapshot(reset=True)
        (share,) = (sums.commands for sums in host.server._requests._sums.values() if len(sums.commands._deltas) > 1)
        assert len(share._deltas) <= 16
        assert reads(silent.snapshot()) == 60


def test_closed_connections_are_told_to_every_reader_once(host: Host) -> None:
    with trace.Sums() as one, trace.Sums() as other:
        host.call(lambda: fire_read(host.probes, connection(4)))
        host.call(lambda: host.server.connection_closed(4))
        for sums in (one, other):
            (row,) = sums.snapshot(reset=True).commands
            assert (row.conn.ident, row.commands) == (4, 1)
            assert sums.snapshot().commands == []


def kept_of_commands() -> int:
    """Commands that have begun, in whatever keeps sums in Python, and tracers in C; whether anybody reaches them."""
    found = gc.get_objects()
    starts = sum(len(each.starts) for each in found if isinstance(each, ConnectionCells))
    return starts + sum(type(each).__name__ == "SumsTracer" for each in found)


@pytest.mark.parametrize("ended_first", ["connection", "reader"])
def test_what_is_kept_of_unended_commands_is_gone_with_its_reader(twin: ModuleType | None, ended_first: str) -> None:
    """At once, not when Python looks for objects that hold each other: until then it would be in nobody's account."""
    probes = Probes(time.monotonic_ns)
    if twin is not None:
        probes.use_tracers(twin, monotonic=True)
    conn = connection(1)

    gc.collect()
    gc.disable()
    try:
        before = kept_of_commands()
        shared = SharedSums(probes)
        share = shared.join(Selection(), ())
        for itt in range(2000):
            probes.pdu(Probe.SCSI_COMMAND, conn, 0, bhs(0x01, 0xC0, itt, word20=512, cdb=READ10), 0, READ10[:10])
        assert kept_of_commands() > before
        if ended_first == "connection":
            shared.close(conn.ident)
        share.leave()
        del share, shared
        assert kept_of_commands() == before
    finally:
        gc.enable()
