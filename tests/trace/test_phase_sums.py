"""The phases of commands in the sums: what ``rwlat --phases`` makes of their events."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from iscsitools import trace
from iscsitools.probes.firing import XFER_READ, XFER_WRITE, Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.sums.histogram import count

from .support import READ10, WRITE10, Host, add_to_log, bhs, connection, logged_bhs

TAG = 0xFFFFFFFF
Phases = dict[str, dict[int, int]]


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """A server whose clock goes on by 1000 ns at each look; an event has one time, whoever looks."""
    ticks = itertools.count(1_000_000, 1000)
    return make_host(clock=lambda: next(ticks))


class Events:
    """Fires the events of a connection."""

    def __init__(self, probes: Probes, conn: ConnectionInfo) -> None:
        self.probes = probes
        self.conn = conn

    def command(self, itt: int, cdb: bytes) -> None:
        flags = 0xA0 if cdb is WRITE10 else 0xC0
        self.probes.pdu(Probe.SCSI_COMMAND, self.conn, 0, bhs(1, flags, itt, word20=4096, cdb=cdb), 0, cdb[:10])

    def start(self, itt: int, kind: int) -> None:
        self.probes.xfer(Probe.XFER_START, self.conn, 0, itt, TAG, 0, 0, 4096, kind)

    def done(self, itt: int, kind: int) -> None:
        self.probes.xfer(Probe.XFER_DONE, self.conn, 0, itt, TAG, 0, 0, 4096, kind)

    def data(self, itt: int) -> None:
        """The last Data-In, with status."""
        self.probes.pdu(Probe.DATA_SEND, self.conn, 0, bhs(0x25, 0x81, itt, 4096))

    def response(self, itt: int, status: int = 0) -> None:
        self.probes.pdu(Probe.SCSI_RESPONSE, self.conn, 0, bhs(0x21, 0x80, itt, status=status))


def phases_of(host: Host, work: Callable[[Events], None]) -> Phases:
    """What the sums have of one kind of commands."""
    with trace.Sums(histograms=PHASES) as sums:
        host.call(lambda: work(Events(host.probes, connection())))
        (row,) = sums.snapshot().commands
    return {name: row.histograms[name].counts for name in PHASES}


def test_a_read_is_sent_after_its_status_was_put_out(host: Host) -> None:
    def work(events: Events) -> None:
        events.command(1, READ10)  # 1: the times in microseconds
        events.start(1, XFER_READ)  # 2
        events.data(1)  # 3
        events.command(2, READ10)  # 4
        events.done(1, XFER_READ)  # 5
        events.start(2, XFER_READ)  # 6
        events.done(2, XFER_READ)  # 7
        events.response(2)  # 8

    assert phases_of(host, work) == {
        "backstore": dict(count([1000, 3000])), "waiting": {}, "sending": dict(count([3000, 1000])),
    }  # fmt: skip


def test_a_write_waits_for_its_data_in_several_transfers(host: Host) -> None:
    def work(events: Events) -> None:
        events.command(1, WRITE10)
        events.start(1, XFER_WRITE)
        events.start(1, XFER_WRITE)  # two are open together: the time counts once
        events.done(1, XFER_WRITE)
        events.done(1, XFER_WRITE)
        events.start(1, XFER_WRITE)
        events.done(1, XFER_WRITE)
        events.response(1)

    assert phases_of(host, work) == {
        "backstore": dict(count([1000 + 1000 + 1000])), "waiting": dict(count([3000 + 1000])), "sending": {},
    }  # fmt: skip


def test_what_failed_or_never_ended_has_none(host: Host) -> None:
    def work(events: Events) -> None:
        events.command(1, READ10)
        events.start(1, XFER_READ)
        events.response(1, status=2)
        events.done(1, XFER_READ)
        events.command(2, READ10)
        events.start(2, XFER_READ)
        events.done(2, XFER_READ)
        events.command(3, READ10)
        events.response(3)
        events.done(77, XFER_READ)  # of one that began before

    assert phases_of(host, work) == {
        "backstore": dict(count([1000])), "waiting": {}, "sending": dict(count([0])),
    }  # fmt: skip


def test_a_tag_that_comes_again_is_another_command(host: Host) -> None:
    """Of the first one the initiator has all data, or wants none: each command that ended well counts once."""

    def work(events: Events) -> None:
        events.command(1, READ10)  # 1
        events.start(1, XFER_READ)  # 2
        events.data(1)  # 3
        events.command(1, READ10)  # 4: the end of the first one's sending was not seen
        events.start(1, XFER_READ)  # 5, or 6 where the clock is looked at for both
        events.data(1)
        events.command(1, WRITE10)
        events.done(1, XFER_READ)  # of neither: it is a write now
        events.response(1)

    with trace.Sums(histograms=PHASES) as sums:
        host.call(lambda: work(Events(host.probes, connection())))
        rows = {row.opcode: row for row in sums.snapshot().commands}
    assert (rows[0x28].ended, rows[0x2A].ended) == (2, 1)
    for name, reads, writes in (("backstore", 2, 1), ("waiting", 0, 1), ("sending", 2, 0)):
        found = [sum(rows[opcode].histograms[name].counts.values()) for opcode in (0x28, 0x2A)]
        assert found == [reads, writes], name


def test_a_write_with_the_tag_of_a_read_that_has_not_left_waits_for_its_own_data(host: Host) -> None:
    """An initiator that uses a tag again before it has the data: the end of that is among the write's transfers."""

    def work(events: Events) -> None:
        events.command(1, READ10)
        events.start(1, XFER_READ)
        events.data(1)
        events.command(1, WRITE10)
        events.start(1, XFER_WRITE)  # 1
        events.done(1, XFER_READ)  # 2: the read's data has left
        events.done(1, XFER_WRITE)  # 3
        events.start(1, XFER_WRITE)
        events.done(1, XFER_WRITE)
        events.response(1)

    with trace.Sums(histograms=PHASES) as sums:
        host.call(lambda: work(Events(host.probes, connection())))
        rows = {row.opcode: row for row in sums.snapshot().commands}
    assert rows[0x2A].histograms["waiting"].counts == dict(count([2000 + 1000]))
    assert rows[0x2A].histograms["backstore"].counts == dict(count([1000 + 1000 + 1000]))
    assert sum(rows[0x28].histograms["sending"].counts.values()) == 1


def test_the_log_of_the_fast_path_has_them_too(make_host: Callable[..., Host]) -> None:
    """Reads leave together, with the last of their stretch; a write's data was there."""
    ticks = itertools.count(1_000_000, 1000)
    host = make_host(clock=lambda: next(ticks), tracers=None)
    with trace.Sums(histograms=PHASES) as sums:

        def work() -> None:
            probes, conn = host.probes, connection()
            assert probes.log is not None
            assert probes.logged is not None
            log = probes.log(conn)
            assert log is not None

            def add(operation: int) -> None:
                log[0].append(probes.clock())
                log[1].extend(logged_bhs(0, operation, 1, 4096, 0, 8))

            began = probes.clock()  # 1
            add(0x2800)  # 2
            add(0x2A00)  # 3
            add(0x2800)  # 4
            probes.logged(began, 1, 7)
            probes.xfer(Probe.XFER_DONE, conn, 0, 99, TAG, 0, 0, 4096, XFER_READ)  # it began before the log
            probes.xfer(Probe.XFER_DONE, conn, 0, 7, TAG, 0, 0, 4096, XFER_READ)
            add_to_log(probes, conn, 0, 0x2800, 8, 4096)  # it has not left yet

        host.call(work)
        rows = {row.opcode: row for row in sums.snapshot().commands}
        read, write = rows[0x28].histograms, rows[0x2A].histograms
        assert read["backstore"].counts == dict(count([1000, 1000, 1000]))
        assert write["backstore"].counts == dict(count([1000]))
        assert write["waiting"].counts == dict(count([0]))
        assert sum(read["sending"].counts.values()) == 2
        host.call(lambda: host.probes.xfer(Probe.XFER_DONE, connection(), 0, 8, TAG, 0, 0, 4096, XFER_READ))
        rows = {row.opcode: row for row in sums.snapshot().commands}
        assert sum(rows[0x28].histograms["sending"].counts.values()) == 3


def test_who_asks_for_none_does_not_see_transfers(host: Host) -> None:
    with trace.Sums(histograms=["size"]):
        assert host.probes.mask & (1 << Probe.XFER_START | 1 << Probe.XFER_DONE) == 0
