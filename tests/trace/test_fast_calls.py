"""One call for all events of a fast read or write, or its numbers in a log: the same as a call for each event."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from iscsitools import trace
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import Probe
from iscsitools.trace.sums.snapshot import CommandRow

from .support import READ10, WRITE10, Host, add_to_log, bhs, connection

READ16 = bytes.fromhex("88000000000000001000000000080000")
TAG = 0xFFFFFFFF


def fire_at_once(probes: Probes, conn: ConnectionInfo, itt: int, cdb: bytes, lun: int, size: int) -> None:
    """As the engine's fast path does."""
    operation = int.from_bytes(cdb[:2], "big")
    if probes.log is not None:
        add_to_log(probes, conn, lun, operation, itt, size)
        return
    assert probes.read is not None
    assert probes.write is not None
    began = probes.clock()
    if cdb is WRITE10:
        started, moved = probes.clock(), probes.clock()
        request, answer = bhs(1, 0xA0, itt, size, word20=size, cdb=cdb), b"??" + bhs(0x21, 0x80, itt)
        probes.write(began, started, moved, conn, lun, operation, itt, 77, size, request, 0, answer, 2)
    else:
        request, answer = b"?" + bhs(1, 0xC0, itt, word20=size, cdb=cdb), bhs(0x25, 0x81, itt, size)
        probes.read(began, conn, lun, operation, itt, 77, size, memoryview(request), 1, answer, 0)


def fire_one_by_one(probes: Probes, conn: ConnectionInfo, itt: int, cdb: bytes, lun: int, size: int) -> None:
    if cdb is WRITE10:
        probes.pdu(6, conn, lun, bhs(1, 0xA0, itt, size, word20=size, cdb=cdb), 0, cdb[:10])
        probes.xfer(16, conn, lun, itt, TAG, 77, 0, size, 1)
        probes.xfer(17, conn, lun, itt, TAG, 77, 0, size, 1)
        probes.pdu(7, conn, lun, bhs(0x21, 0x80, itt))
    else:
        probes.pdu(6, conn, lun, bhs(1, 0xC0, itt, word20=size, cdb=cdb), 0, cdb[:10] if cdb is READ10 else cdb)
        probes.xfer(16, conn, lun, itt, TAG, 77, 0, size, 0)
        probes.pdu(8, conn, lun, bhs(0x25, 0x81, itt, size))


Fire = Callable[[Probes, ConnectionInfo, int, bytes, int, int], None]


def work(host: Host, fire: Fire) -> None:
    for n in range(301):  # more than a chunk of granted records, and not a multiple of its size
        cdb = (READ10, READ16, WRITE10)[n % 3]
        fire(host.probes, connection(1 + n % 2), n, cdb, n % 4, 512 << n % 4)


@pytest.fixture
def make_ticking(make_host: Callable[..., Host]) -> Callable[[str], Host]:
    """Host by name; ``one`` is always Python's, for only that has one call for a whole command."""

    def make(name: str) -> Host:
        ticks = itertools.count(1_000_000, 1000)
        options = {"tracers": None} if name == "one" else {}
        return make_host(name=name, clock=lambda: next(ticks), **options)

    return make


@pytest.mark.parametrize("mode", ["ring", "socket"])
def test_the_same_records(make_ticking: Callable[[str], Host], mode: str) -> None:
    found: list[list[trace.Event]] = []
    for name, fire in (("one", fire_at_once), ("each", fire_one_by_one)):
        host = make_ticking(name)
        with trace.attach(name=name, mode=mode) as source:
            host.call(lambda host=host, fire=fire: work(host, fire))
            events: list[trace.Event] = []
            while len(events) < 201 * 3 + 100 * 4:
                events += source.poll(60)
        found.append(events)
    assert found[0] == found[1]
    assert {event.time for event in found[0]} == set(range(1_000_000, 2_003_000, 1000))


def test_the_same_sums(make_ticking: Callable[[str], Host]) -> None:
    found: list[list[CommandRow]] = []
    for name, fire in (("one", fire_at_once), ("each", fire_one_by_one)):
        host = make_ticking(name)
        with trace.Sums(name=name) as sums:
            host.call(lambda host=host, fire=fire: work(host, fire))
            rows = sums.snapshot().commands
        for row in rows:  # the sums look at the clock for the ends alone, where they are not told other times
            row.latency = row.maximum = 0
            row.histogram = {0: sum(row.histogram.values())}
        found.append(sorted(rows, key=lambda row: (row.conn.ident, row.lun, row.opcode or 0)))
    assert found[0] == found[1]
    assert sum(row.ended for row in found[0]) == 301


def test_latencies_of_fast_commands(make_ticking: Callable[[str], Host]) -> None:
    host = make_ticking("one")
    with trace.Sums() as sums:
        host.call(lambda: fire_at_once(host.probes, connection(), 1, READ10, 0, 4096))
        host.call(lambda: fire_at_once(host.probes, connection(), 2, WRITE10, 0, 4096))
        read, write = sums.snapshot().commands
    assert (read.latency, write.latency) == (1000, 1000)


@pytest.mark.parametrize("filters", [{"lun": 0}, {"probes": ["scsi-command", "data-send"]}, {"probes": ["nop-send"]}])
def test_filtered_records_are_fired_one_by_one(host: Host, filters: dict[str, object]) -> None:
    with trace.attach(**filters):  # type: ignore[arg-type]
        assert host.call(lambda: (host.probes.read, host.probes.write)) == (None, None)


class Plain:
    """As the DTrace provider: it has to see each event when it happens."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_pdu(self, probe: int, now: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes, sense: int) -> None:
        self.seen.append(probe)

    def on_xfer(self, probe: int, now: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        self.seen.append(probe)


def test_who_has_to_see_each_event_does(host: Host) -> None:
    plain = Plain()
    host.call(lambda: host.probes.subscribe(1 << 6 | 1 << 16, plain))
    assert host.call(lambda: host.probes.read) is None
    with trace.attach():
        assert host.call(lambda: (host.probes.read, host.probes.write)) == (None, None)
        host.call(lambda: fire_one_by_one(host.probes, connection(), 1, READ10, 0, 512))
    host.wait_until(lambda: host.probes.mask == 1 << 6 | 1 << 16)
    assert plain.seen == [Probe.SCSI_COMMAND, Probe.XFER_START]
