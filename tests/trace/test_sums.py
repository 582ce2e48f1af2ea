"""Sums of known work: by the server, and by a replay of the same events; both have to say the same."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator

import pytest

from iscsitools import trace
from iscsitools.probes.table import Probe
from iscsitools.trace.client.recording import Recorder
from iscsitools.trace.client.replay import Replay
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import histogram
from iscsitools.trace.sums.declared import NAMES

from .support import READ10, Host, bhs, connection, fire_read, fire_write

CHECK = 0x02
RESET = 0x062900


@pytest.fixture
def ticking(make_host: Callable[..., Host]) -> Host:
    """A server whose clock goes on by 1000 ns at each look."""
    ticks = itertools.count(1_000_000, 1000)
    return make_host(clock=lambda: next(ticks))


def by_opcode(snapshot: trace.Snapshot) -> dict[tuple[int, int, int | None], trace.CommandRow]:
    return {(row.conn.ident, row.lun, row.opcode): row for row in snapshot.commands}


def test_reads_and_writes_are_counted(host: Host) -> None:
    one, two = connection(1), connection(2)
    with trace.Sums() as sums:
        host.call(lambda: [fire_read(host.probes, one, i, lun=3, size=8192) for i in range(13)])
        host.call(lambda: [fire_write(host.probes, two, i, size=4096) for i in range(7)])
        rows = by_opcode(sums.snapshot())
    read, write = rows[1, 3, 0x28], rows[2, 0, 0x2A]
    assert (read.commands, read.ended, read.failed, read.reads, read.writes) == (13, 13, 0, True, False)
    assert (read.in_pdus, read.in_bytes, read.out_pdus, read.out_bytes) == (13, 13 * 8192, 0, 0)
    assert (write.commands, write.ended, write.reads, write.writes) == (7, 7, False, True)
    assert (write.out_pdus, write.out_bytes, write.in_pdus) == (14, 7 * 4096, 0)
    assert read.conn.remote == "192.0.2.7:50000"
    assert len(rows) == 2
    assert sum(read.histogram.values()) == 13


def test_latency_is_from_command_to_end(ticking: Host) -> None:
    with trace.Sums() as sums:
        ticking.call(lambda: fire_read(ticking.probes, connection()))
        ticking.call(lambda: fire_read(ticking.probes, connection()))
        (row,) = sums.snapshot().commands
    assert (row.latency, row.maximum) == (2000, 1000)
    assert row.histogram == {histogram.index_of(1000): 2}


def test_a_read_in_several_pdus_ends_with_the_s_bit(host: Host) -> None:
    conn = connection()

    def fire() -> None:
        host.probes.pdu(Probe.SCSI_COMMAND, conn, 0, bhs(1, 0xC0, 5, cdb=READ10), 0, READ10[:10])
        host.probes.pdu(Probe.DATA_SEND, conn, 0, bhs(0x25, 0x80, 5, 512))
        host.probes.pdu(Probe.DATA_SEND, conn, 0, bhs(0x25, 0x80, 5, 512))

    with trace.Sums() as sums:
        host.call(fire)
        (row,) = sums.snapshot().commands
        assert (row.commands, row.ended, row.in_pdus, row.in_bytes) == (1, 0, 2, 1024)
        host.call(lambda: host.probes.pdu(Probe.DATA_SEND, conn, 0, bhs(0x25, 0x81, 5, 100)))
        (row,) = sums.snapshot().commands
        assert (row.commands, row.ended, row.in_pdus, row.in_bytes) == (1, 1, 3, 1124)


def test_failures_are_counted_apart(host: Host) -> None:
    conn = connection()

    def fire() -> None:
        for itt, response in enumerate(
            [bhs(0x21, status=CHECK), bhs(0x21, byte2=1), bhs(0x25, 0x81, status=8, length=10), bhs(0x21, status=4)]
        ):
            host.probes.pdu(Probe.SCSI_COMMAND, conn, 0, bhs(1, 0xC0, itt, cdb=READ10), 0, READ10[:10])
            header = response[:16] + itt.to_bytes(4, "big") + response[20:]
            probe = Probe.DATA_SEND if header[0] == 0x25 else Probe.SCSI_RESPONSE
            host.probes.pdu(probe, conn, 0, header, 0, b"", RESET if header[3] == CHECK else 0)

    with trace.Sums() as sums:
        host.call(fire)
        (row,) = sums.snapshot().commands
    assert (row.commands, row.ended, row.failed) == (4, 1, 3)  # CONDITION MET is no failure
    assert row.errors == {CHECK << 24 | RESET: 1, 0x100 << 24: 1, 8 << 24: 1}


def test_an_end_without_a_start_counts_only_its_data(host: Host) -> None:
    conn = connection()
    with trace.Sums() as sums:
        host.call(lambda: host.probes.pdu(Probe.DATA_SEND, conn, 2, bhs(0x25, 0x81, 9, 4096)))
        host.call(lambda: host.probes.pdu(Probe.DATA_RECEIVE, conn, 2, bhs(0x05, 0x80, 8, 100)))
        host.call(lambda: host.probes.pdu(Probe.SCSI_RESPONSE, conn, 2, bhs(0x21, 0x80, 8)))
        (row,) = sums.snapshot().commands
    assert row.opcode is None
    assert (row.commands, row.ended, row.in_bytes, row.out_bytes) == (0, 0, 4096, 100)


@pytest.mark.parametrize(
    ("function", "lun", "kept"),
    [
        (1, 0, {2, 3, 4, 5}),  # ABORT TASK of ITT 1
        (2, 0, {3, 4, 5}),  # ABORT TASK SET: this session's tasks of the LUN
        (4, 0, {3, 5}),  # CLEAR TASK SET: everybody's
        (5, 0, {3, 5}),  # LOGICAL UNIT RESET
        (6, 0, {5}),  # TARGET WARM RESET
        (7, 0, {5}),  # TARGET COLD RESET
        (3, 0, {1, 2, 3, 4, 5}),  # CLEAR ACA
    ],
)
def test_task_management_clears_starts(host: Host, function: int, lun: int, kept: set[int]) -> None:
    own, other, elsewhere = connection(1), connection(2), connection(3, target="iqn.2026-11.example:b")
    tasks = {1: (own, 0), 2: (own, 0), 3: (own, 1), 4: (other, 0), 5: (elsewhere, 0)}

    def begin() -> None:
        for itt, (conn, unit) in tasks.items():
            host.probes.pdu(Probe.SCSI_COMMAND, conn, unit, bhs(1, 0xC0, itt, cdb=READ10), 0, READ10[:10])

    def manage(response: int) -> None:
        host.probes.pdu(Probe.TASK_COMMAND, own, lun, bhs(0x02, 0x80 | function, 99, word20=1))
        host.probes.pdu(Probe.TASK_RESPONSE, own, 0, bhs(0x22, 0x80, 99, byte2=response))

    def end() -> None:
        for itt, (conn, unit) in tasks.items():
            host.probes.pdu(Probe.SCSI_RESPONSE, conn, unit, bhs(0x21, 0x80, itt))

    with trace.Sums() as sums:
        host.call(begin)
        host.call(lambda: manage(255))  # rejected: ends nothing
        host.call(end)
        assert sum(row.ended for row in sums.snapshot(reset=True).commands) == 5
        host.call(begin)
        host.call(lambda: manage(0))
        host.call(end)
        ended = {(row.conn.ident, row.lun): row.ended for row in sums.snapshot().commands}
    expected: dict[tuple[int, int], int] = {}
    for itt, (conn, unit) in tasks.items():
        expected[conn.ident, unit] = expected.get((conn.ident, unit), 0) + (itt in kept)
    assert ended == expected


def test_reset_begins_again_and_keeps_what_is_under_way(ticking: Host) -> None:
    conn = connection()
    with trace.Sums() as sums:
        ticking.call(lambda: fire_read(ticking.probes, conn, 1))
        begin = bhs(1, 0xC0, 2, cdb=READ10)
        ticking.call(lambda: ticking.probes.pdu(Probe.SCSI_COMMAND, conn, 0, begin, 0, READ10[:10]))
        first = sums.snapshot(reset=True)
        ticking.call(lambda: ticking.probes.pdu(Probe.DATA_SEND, conn, 0, bhs(0x25, 0x81, 2, 64)))
        second = sums.snapshot(reset=True)
        third = sums.snapshot()
    assert [(row.commands, row.ended) for row in first.commands] == [(2, 1)]
    assert [(row.commands, row.ended, row.in_bytes) for row in second.commands] == [(0, 1, 64)]
    assert third.commands == []
    assert second.since == first.time


def test_a_closed_connections_sums_stay_until_they_are_read(host: Host) -> None:
    with trace.Sums(events=True) as sums:
        host.call(lambda: fire_read(host.probes, connection(1)))
        host.call(lambda: host.server.connection_closed(1))
        host.call(lambda: fire_read(host.probes, connection(2)))
        first, second = sums.snapshot(), sums.snapshot(reset=True)
        third = sums.snapshot()
    assert {row.conn.ident for row in first.commands} == {1, 2}
    assert first.commands == second.commands
    assert {row.conn.ident for row in second.events} == {1, 2}
    assert third.commands == []


def test_service_actions_are_told_apart(host: Host) -> None:
    def fire(cdb: bytes) -> None:
        host.probes.pdu(Probe.SCSI_COMMAND, connection(), 0, bhs(1, 0xC0, cdb=cdb), 0, cdb)

    with trace.Sums() as sums:
        for first, second in ((0x9E, 0x10), (0x9E, 0x12), (0x28, 0x08)):
            host.call(lambda first=first, second=second: fire(bytes([first, second]) + bytes(14)))
        host.call(lambda: fire(bytes([0x7F]) + bytes(7) + b"\0\x09" + bytes(22)))
        rows = sums.snapshot().commands
    assert {(row.opcode, row.service_action) for row in rows} == {(0x9E, 0x10), (0x9E, 0x12), (0x28, None), (0x7F, 9)}


def test_events_are_counted_by_connection(host: Host) -> None:
    with trace.Sums(commands=False, events=True) as sums:
        host.call(lambda: [fire_read(host.probes, connection(1), i) for i in range(11)])
        host.call(lambda: [fire_write(host.probes, connection(2), i) for i in range(3)])
        snapshot = sums.snapshot()
    assert snapshot.commands == []
    counts = {row.conn.ident: row.counts for row in snapshot.events}
    assert counts[1] == dict.fromkeys((Probe.SCSI_COMMAND, Probe.DATA_SEND, Probe.XFER_START, Probe.XFER_DONE), 11)
    assert counts[2][Probe.XFER_DONE] == 6
    assert counts[2][Probe.DATA_REQUEST] == 3


def test_filters_apply_to_sums(host: Host) -> None:
    conns = [connection(1), connection(2, "192.0.2.8:1")]
    with trace.Sums(client="192.0.2.8", lun=1, events=True) as sums:
        host.call(lambda: [fire_read(host.probes, conn, lun=lun) for conn in conns for lun in (0, 1)])
        snapshot = sums.snapshot()
    assert [(row.conn.ident, row.lun, row.commands) for row in snapshot.commands] == [(2, 1, 1)]
    assert [(row.conn.ident, sum(row.counts.values())) for row in snapshot.events] == [(2, 4)]


def mixed_work(host: Host) -> Iterator[Callable[[], object]]:
    one, two = connection(1), connection(2, "[2001:db8::7]:9")
    for n in range(17):
        yield lambda n=n: fire_read(host.probes, one, n, lun=n % 3, size=512 << n % 5)
        yield lambda n=n: fire_write(host.probes, two, n, lun=n % 2, size=2048)
    yield lambda: host.probes.pdu(Probe.SCSI_RESPONSE, one, 0, bhs(0x21, 0x80, 77))
    yield lambda: host.probes.pdu(Probe.SCSI_COMMAND, one, 0, bhs(1, 0x80, 78), 0, bytes(6))
    yield lambda: host.probes.pdu(Probe.SCSI_RESPONSE, one, 0, bhs(0x21, 0x80, 78, status=2), 0, b"", RESET)
    yield lambda: host.server.connection_closed(1)


@pytest.mark.parametrize("selection", [Selection(), Selection(lun=1), Selection(client="2001:db8::7")])
def test_a_recorded_file_gives_the_same_sums(make_host: Callable[..., Host], selection: Selection) -> None:
    frozen = 5_000_000
    host = make_host(clock=lambda: frozen)
    out = io.BytesIO()
    wanted = {"client": selection.client, "lun": selection.lun}
    with trace.attach() as source, trace.Sums(events=True, histograms=NAMES, busy=True, **wanted) as sums:  # type: ignore[arg-type]
        recorder = Recorder(out, source.server, {})
        for work in mixed_work(host):
            frozen += 12345
            host.call(work)
        live = sums.snapshot()
        host.close()
        while not source.ended:
            recorder.write(source, source.read_block())
        recorder.finish(source.drops)
    path = host.watch.parent / "recording"
    path.write_bytes(out.getvalue())
    replay = Replay(selection, events=True, histograms=NAMES, busy=True)
    with trace.open_file(path) as replayed:
        while not replayed.ended:
            replay.feed(replayed, replayed.read_block())
    recorded = replay.snapshot()

    def key(row: trace.CommandRow) -> tuple[int, int, int]:
        return row.conn.ident, row.lun, row.opcode if row.opcode is not None else -1

    assert sorted(recorded.commands, key=key) == sorted(live.commands, key=key)
    assert {row.conn.ident: row.counts for row in recorded.events} == {
        row.conn.ident: row.counts for row in live.events
    }
    assert live.commands
    assert recorded.busy == live.busy
