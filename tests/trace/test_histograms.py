"""The histograms of the sums that a reader asks for: sizes, places, distances and depths of known commands."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools import trace
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.client.connection import ServerConnection
from iscsitools.trace.sums import declared
from iscsitools.trace.sums.buckets import Buckets, Distribution, merged
from iscsitools.trace.sums.declared import HISTOGRAMS, NAMES
from iscsitools.trace.sums.histogram import count

from .support import Host, add_to_log, bhs, connection

READ, WRITE = 0x28, 0x2A


def cdb_of(opcode: int, lba: int, blocks: int) -> bytes:
    if opcode >= 0x80:
        return struct.pack(">BxQIxx", opcode, lba, blocks)
    return struct.pack(">BxIxHx", opcode, lba, blocks)


class Client:
    """Sends commands of a connection and gets answers, by each event or by the calls for whole commands."""

    def __init__(self, host: Host, whole: bool, conn: ConnectionInfo | None = None) -> None:
        self.probes = host.probes
        self.call = host.call
        self.conn = conn or connection()
        self.whole = whole
        self.itt = 0
        self.statsn = 100
        self.seen = 100

    def begin(self, opcode: int, lba: int, blocks: int, lun: int = 0) -> bytes:
        cdb = cdb_of(opcode, lba, blocks)
        flags = 0xA0 if opcode & 0x1F == 0x0A else 0xC0
        self.itt += 1
        return bhs(1, flags, self.itt, blocks * 512 if flags == 0xA0 else 0, word20=blocks * 512,
                   numbers=(self.itt, self.seen, 0, 0, 0, 0), cdb=cdb)  # fmt: skip

    def do(self, opcode: int, lba: int, blocks: int, lun: int = 0) -> None:
        """One command with its answer."""
        request = self.begin(opcode, lba, blocks)
        cdb = cdb_of(opcode, lba, blocks)
        write = opcode & 0x1F == 0x0A
        answer = bhs(0x21 if write else 0x25, 0x80 if write else 0x81, self.itt, 0 if write else blocks * 512,
                     numbers=(self.statsn, 0, 0, 0, 0, 0))  # fmt: skip
        self.statsn += 1
        operation, size = opcode << 8, blocks * 512

        def fire() -> None:
            if not self.whole or self.probes.log is None:
                self.probes.pdu(Probe.SCSI_COMMAND, self.conn, lun, request, 0, cdb)
                self.probes.pdu(Probe.SCSI_RESPONSE if write else Probe.DATA_SEND, self.conn, lun, answer)
            else:
                numbers = (lba, blocks, self.seen, self.statsn - 1)
                add_to_log(self.probes, self.conn, lun, operation, self.itt, size, *numbers)

        self.call(fire)

    def see(self) -> None:
        """It has got all answers, and says so in what it sends from now on."""
        self.seen = self.statsn


@pytest.fixture(params=["each event", "whole commands"])
def client(request: pytest.FixtureRequest, host: Host) -> Client:
    return Client(host, request.param == "whole commands")


def of(rows: list[trace.CommandRow], opcode: int, name: str) -> Distribution:
    (row,) = (row for row in rows if row.opcode == opcode)
    return row.histograms[name]


def octaves(*values: int) -> Distribution:
    return Distribution(0, dict(count(values)))


def test_sizes_are_those_of_the_commands(client: Client) -> None:
    with trace.Sums(histograms=["size"]) as sums:
        for blocks in (8, 8, 16, 2048):
            client.do(READ, 0, blocks)
        client.do(WRITE, 0, 1)
        client.do(0x8A, 0, 32_000)
        rows = sums.snapshot().commands
    assert of(rows, READ, "size") == octaves(4096, 4096, 8192, 1 << 20)
    assert of(rows, WRITE, "size") == octaves(512)
    assert of(rows, 0x8A, "size") == octaves(32_000 * 512)
    assert all(list(row.histograms) == ["size"] for row in rows)


def test_distances_are_from_the_end_of_the_command_before_whatever_it_was(client: Client) -> None:
    with trace.Sums(histograms=["seek"]) as sums:
        client.do(READ, 1000, 8)
        client.do(READ, 1008, 8)  # goes on
        client.do(WRITE, 1116, 8)  # 100 further
        client.do(READ, 24, 8)  # 1100 back
        client.do(READ, 0, 8, lun=3)  # of another unit, and the first there
        client.do(READ, 32, 8)  # goes on
        client.do(0x88, 1 << 40, 8)
        rows = [row for row in sums.snapshot().commands if row.lun == 0]
    assert of(rows, READ, "seek") == octaves(0, -1100, 0)
    assert of(rows, WRITE, "seek") == octaves(100)
    assert of(rows, 0x88, "seek") == octaves((1 << 40) - 40)


def test_distances_go_on_over_an_interval(client: Client) -> None:
    with trace.Sums(histograms=["seek"]) as sums:
        client.do(READ, 0, 8)
        sums.snapshot(reset=True)
        client.do(READ, 8, 8)
        assert of(sums.snapshot().commands, READ, "seek") == octaves(0)


def test_places_have_equal_widths_that_double_as_needed(client: Client) -> None:
    with trace.Sums(histograms=["lba"]) as sums:
        for lba in (0, 1, 127):
            client.do(READ, lba, 1)
        assert of(sums.snapshot().commands, READ, "lba") == Distribution(1, {0: 1, 1: 1, 127: 1})
        client.do(READ, 128, 1)
        assert of(sums.snapshot().commands, READ, "lba") == Distribution(2, {0: 2, 63: 1, 64: 1})
        client.do(READ, (1 << 20) - 1, 1)
        assert of(sums.snapshot(reset=True).commands, READ, "lba") == Distribution(1 << 13, {0: 4, 127: 1})
        client.do(READ, 0, 1)
        assert of(sums.snapshot().commands, READ, "lba") == Distribution(1 << 13, {0: 1})


def test_depth_is_what_the_initiator_has_not_seen_answered(client: Client) -> None:
    with trace.Sums(histograms=["depth"]) as sums:
        client.do(READ, 0, 8)
        client.see()
        for _ in range(4):  # sent at once, answered one after the other
            client.do(READ, 0, 8)
        client.see()
        client.do(READ, 0, 8)
        assert of(sums.snapshot().commands, READ, "depth") == octaves(1, 1, 2, 3, 4, 1)


def test_depth_counts_what_is_under_way_here(host: Host) -> None:
    client = Client(host, whole=False)
    with trace.Sums(histograms=["depth"]) as sums:
        for _ in range(3):
            request = client.begin(READ, 0, 8)
            host.call(lambda bhs=request: host.probes.pdu(6, client.conn, 0, bhs, 0, cdb_of(READ, 0, 8)))
        client.do(READ, 0, 8)
        client.do(READ, 0, 8)  # the answer of the one before is not seen yet
        assert of(sums.snapshot().commands, READ, "depth") == octaves(1, 2, 3, 4, 5)


def test_answers_to_pings_are_no_depth(client: Client) -> None:
    with trace.Sums(histograms=["depth"]) as sums:
        client.do(READ, 0, 8)
        client.statsn += 3  # NOP-Ins between the answers of two commands
        client.do(READ, 0, 8)
        client.do(READ, 0, 8)
        assert of(sums.snapshot().commands, READ, "depth") == octaves(1, 2, 6)


def test_an_initiator_that_acknowledges_nonsense_has_no_depth_of_millions(client: Client) -> None:
    with trace.Sums(histograms=["depth"]) as sums:
        client.do(READ, 0, 8)
        for nonsense in (0, 0x7FFFFFFF, 0xFFFFFFFF, 5000):
            client.seen = nonsense
            client.do(READ, 0, 8)
        buckets = of(sums.snapshot().commands, READ, "depth").counts
    assert sum(buckets.values()) == 5
    assert max(buckets) <= max(count([200]))


def test_what_moves_no_data_has_only_a_depth(host: Host) -> None:
    with trace.Sums(histograms=NAMES) as sums:
        for cdb in (bytes(6), bytes.fromhex("35000000100000000800")):  # TEST UNIT READY, SYNCHRONIZE CACHE of a range
            host.call(lambda cdb=cdb: host.probes.pdu(6, connection(), 0, bhs(1, 0x80, 5, cdb=cdb), 0, cdb))
        for row in sums.snapshot().commands:
            assert {name: sum(d.counts.values()) for name, d in row.histograms.items()} == {
                "size": 0, "lba": 0, "seek": 0, "depth": 1, "backstore": 0, "waiting": 0, "sending": 0,
            }  # fmt: skip


def test_many_commands_are_all_counted_whenever_they_are_sorted(client: Client) -> None:
    """More than are put by before they are sorted, of two operations in turn."""
    with trace.Sums(histograms=NAMES) as sums:
        for n in range(700):
            client.do(READ if n % 3 else WRITE, n * 8, 8)
        rows = sums.snapshot().commands
    for opcode, expected in ((READ, 466), (WRITE, 234)):
        assert sum(of(rows, opcode, "size").counts.values()) == expected
        assert sum(of(rows, opcode, "lba").counts.values()) == expected
        assert sum(of(rows, opcode, "depth").counts.values()) == expected
    zero = count([0])
    assert set(of(rows, READ, "seek").counts) == set(of(rows, WRITE, "seek").counts) == set(zero)
    assert sum(sum(of(rows, opcode, "seek").counts.values()) for opcode in (READ, WRITE)) == 699


def test_who_asks_for_none_gets_none(client: Client) -> None:
    with trace.Sums() as sums:
        client.do(READ, 0, 8)
        (row,) = sums.snapshot().commands
        assert (row.histograms, sums.kept) == ({}, ())


def test_names_that_the_server_does_not_know_are_left_out_and_told(host: Host) -> None:
    with trace.Sums(histograms=["depth", "colour", "size"]) as sums:
        assert sums.kept == ("size", "depth")


@pytest.mark.parametrize("nonsense", ["size", 5, [5], {"size": 1}, None])
def test_what_is_no_list_of_names_is_refused(host: Host, nonsense: object) -> None:
    link = ServerConnection(host.watch)
    with pytest.raises(trace.TraceError, match="histograms is not a list of names"):
        link.request("aggregate", histograms=nonsense)
    link.close()


def test_distributions_of_different_widths_add_up() -> None:
    narrow, wide = Distribution(4, {0: 1, 1: 2, 9: 5}), Distribution(16, {0: 7, 2: 1})
    assert merged([narrow, wide]) == merged([wide, narrow]) == Distribution(16, {0: 10, 2: 6})
    assert merged([Distribution(0, {3: 1}), Distribution(0, {3: 2})]) == Distribution(0, {3: 3})
    assert merged([]) == Distribution(0, {})


@pytest.mark.parametrize("lba", [0, 1, 127, 128, 255, 256, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_no_place_is_beyond_the_last_bucket(lba: int) -> None:
    buckets = Buckets(HISTOGRAMS[NAMES.index("lba")])
    buckets.add([lba])
    width, counts = buckets.read()
    (bucket,) = counts
    assert bucket < declared.MOST_PLACES
    assert bucket * width <= lba < (bucket + 1) * width


def test_the_protocol_page_describes_each(project: Path) -> None:
    text = (project / "docs" / "trace-protocol.md").read_text()
    for kept in HISTOGRAMS:
        assert f"| `{kept.name}` | {kept.unit} | {kept.scale.name.lower()} |" in text


def test_a_total_over_rows_is_that_of_the_load(make_host: Callable[..., Host]) -> None:
    """Two connections with different widths: what a view does with their rows."""
    host = make_host()
    one, two = Client(host, True, connection(1)), Client(host, True, connection(2))
    lbas = [(one, n * 3) for n in range(40)] + [(two, n * 1000) for n in range(40)]
    with trace.Sums(histograms=["lba"]) as sums:
        for client, lba in lbas:
            client.do(READ, lba, 1)
        width, counts = merged(row.histograms["lba"] for row in sums.snapshot().commands)
    assert width == 512
    assert counts == Counter(lba // 512 for _, lba in lbas)
