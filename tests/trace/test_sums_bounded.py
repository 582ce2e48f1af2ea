"""The sums stay small, whatever an initiator does; and what their histograms can hold."""

from __future__ import annotations

import pytest

from iscsitools import trace
from iscsitools.probes.table import Probe
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import histogram
from iscsitools.trace.sums.aggregate import CommandSums
from iscsitools.trace.sums.arrivals import MAX_STARTS
from iscsitools.trace.sums.cell_table import MAX_CELLS

from .support import READ10, Host, bhs, connection, fire_read


def test_an_initiator_cannot_grow_the_sums(host: Host) -> None:
    conn = connection()

    def fire() -> None:
        for n in range(MAX_CELLS + 100):
            cdb = bytes([0x7F]) + bytes(7) + n.to_bytes(2, "big") + bytes(22)
            host.probes.pdu(Probe.SCSI_COMMAND, conn, 0, bhs(1, 0x80, n, cdb=cdb), 0, cdb)

    with trace.Sums() as sums:
        host.call(fire)
        rows = sums.snapshot().commands
    assert len(rows) == MAX_CELLS + 1
    assert sum(row.commands for row in rows) == MAX_CELLS + 100


def test_closed_connections_make_room_for_new_ones(host: Host) -> None:
    """More connections than there may be cells, one after another: each still has a row of its own."""
    with trace.Sums(events=True) as sums:
        for begin in range(1, MAX_CELLS + 300, 300):

            def come_and_go(first: int = begin) -> None:
                for ident in range(first, first + 300):
                    fire_read(host.probes, connection(ident))
                    host.server.connection_closed(ident)

            host.call(come_and_go)
            snapshot = sums.snapshot(reset=True)
            assert {row.conn.ident for row in snapshot.commands} == set(range(begin, begin + 300))
            assert {row.conn.ident for row in snapshot.events} == set(range(begin, begin + 300))


@pytest.mark.parametrize("value", [0, 1, 2, 3, 7, 8, 9, 1000, 4095, 4096, 123456789, (1 << 53) - 1])
def test_histogram_buckets_hold_their_values(value: int) -> None:
    index = histogram.index_of(value)
    low, high = histogram.lower_bound(index), histogram.lower_bound(index + 1)
    assert low <= value < high
    assert high - low <= low / 16 or value == 0
    assert histogram.count([value]) == {index: 1}
    power = 1 << value.bit_length() - 1 if value else 0
    assert histogram.powers({index: 5}) == {power: 5}


def test_percentiles_are_within_a_sixteenth() -> None:
    counts: dict[int, int] = {}
    for value in range(1, 100_001):
        index = histogram.index_of(value)
        counts[index] = counts.get(index, 0) + 1
    for share in (0.5, 0.9, 0.99, 0.999):
        assert histogram.percentile(counts, share) == pytest.approx(share * 100_000, rel=0.0625)
    assert histogram.percentile({}, 0.5) == 0


def test_commands_that_nobody_answers_are_not_kept_without_end() -> None:
    """What an initiator sends outside of its command window is ignored; a command that is answered still counts."""

    def fail(error: Exception) -> None:
        raise error

    sums = CommandSums(Selection())
    call, conn = sums.direct(lambda: 5, fail).pdu, connection(1)
    for itt in range(MAX_STARTS + 5000):
        call(Probe.SCSI_COMMAND, conn, 0, bhs(0x01, 0xC0, itt, cdb=READ10), 0, READ10[:10])
    call(Probe.DATA_SEND, conn, 0, bhs(0x25, 0x81, MAX_STARTS + 4999, 512))
    assert sum(count for _, _, count in sums.under_way()) <= MAX_STARTS + 256
    ((_, cell),) = sums.read()
    assert (cell.commands, cell.ended) == (MAX_STARTS + 5000, 1)
    assert sum(count for _, _, count in sums.under_way()) <= MAX_STARTS
