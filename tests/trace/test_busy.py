"""How long something is under way, of a LUN and of a client's share in it: by commands whose times are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iscsitools import trace
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.sums.busy import MOST_SCOPES

from .support import READ10, WRITE10, Host, add_to_log, bhs, connection

TARGET = "iqn.2026-11.example:a"
HERE, THERE = "192.0.2.7", "192.0.2.8"


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


class Timed:
    """Two clients' connections, 1 and 2, to one target; events at times of the test's own."""

    def __init__(self, make_host: Callable[..., Host]) -> None:
        self.clock = Clock()
        self.host = make_host(clock=self.clock)
        self.conns = {1: connection(1, f"{HERE}:1"), 2: connection(2, f"{THERE}:2"), 3: connection(3, f"{HERE}:3")}

    def at(self, time: int, what: Callable[[], object]) -> None:
        self.clock.now = 1_000_000 + time
        self.host.call(what)

    def begin(self, time: int, number: int, itt: int, lun: int = 0) -> None:
        header = bhs(1, 0xA0, itt, word20=4096, cdb=WRITE10)
        self.at(
            time, lambda: self.host.probes.pdu(Probe.SCSI_COMMAND, self.conns[number], lun, header, 0, WRITE10[:10])
        )

    def end(self, time: int, number: int, itt: int, status: int = 0, lun: int = 0) -> None:
        header = bhs(0x21, 0x80, itt, status=status)
        self.at(time, lambda: self.host.probes.pdu(Probe.SCSI_RESPONSE, self.conns[number], lun, header))


@pytest.fixture
def timed(make_host: Callable[..., Host]) -> Timed:
    return Timed(make_host)


def busy_of(sums: trace.Sums, reset: bool = False) -> dict[tuple[str, int], int]:
    """By client ("": all) and LUN."""
    snapshot = sums.snapshot(reset)
    assert snapshot.busy is not None
    assert {scope.target for scope in snapshot.busy} <= {TARGET}
    return {(client, lun): time for (client, _, lun), time in snapshot.busy.items()}


def test_commands_that_overlap_make_a_lun_busy_once(timed: Timed) -> None:
    with trace.Sums(busy=True) as sums:
        timed.begin(100, 1, 1)
        timed.begin(200, 1, 2)
        timed.begin(250, 2, 1)
        timed.begin(260, 2, 2, lun=5)
        timed.end(300, 1, 1)
        timed.end(400, 1, 2, status=2)  # one that fails has kept it busy too
        timed.end(450, 2, 1)
        timed.end(455, 2, 2, lun=5)
        timed.begin(1000, 3, 1)  # the same client by another connection
        timed.end(1007, 3, 1)
        assert busy_of(sums) == {
            ("", 0): 357, (HERE, 0): 307, (THERE, 0): 200, ("", 5): 195, (THERE, 5): 195,
        }  # fmt: skip


def test_what_is_still_under_way_counts_until_now(timed: Timed) -> None:
    with trace.Sums(busy=True) as sums, trace.Sums(busy=True) as other:
        timed.begin(100, 1, 1)
        timed.clock.now += 50
        assert busy_of(sums, reset=True) == {("", 0): 50, (HERE, 0): 50}
        timed.clock.now += 30
        assert busy_of(sums) == {("", 0): 30, (HERE, 0): 30}
        timed.end(200, 1, 1)
        timed.clock.now += 1000
        assert busy_of(sums, reset=True) == {("", 0): 50, (HERE, 0): 50}
        assert busy_of(sums) == {}
        assert busy_of(other) == {("", 0): 100, (HERE, 0): 100}


def test_a_command_that_gets_no_status_is_under_way_until_that_is_known(timed: Timed) -> None:
    """An abort, another command with the tag, the connection's end."""
    conn = timed.conns[1]
    with trace.Sums(busy=True) as sums:
        timed.begin(100, 1, 1)
        timed.at(110, lambda: timed.host.probes.pdu(Probe.TASK_COMMAND, conn, 0, bhs(2, 0x81, 9, word20=1)))
        timed.at(140, lambda: timed.host.probes.pdu(Probe.TASK_RESPONSE, conn, 0, bhs(0x22, 0x80, 9)))
        assert busy_of(sums, reset=True) == {("", 0): 40, (HERE, 0): 40}
        timed.begin(200, 1, 2)
        timed.begin(220, 1, 2)
        timed.end(225, 1, 2)
        assert busy_of(sums, reset=True) == {("", 0): 25, (HERE, 0): 25}
        timed.begin(300, 1, 3)
        timed.begin(300, 2, 3)
        timed.at(310, lambda: timed.host.server.connection_closed(1))
        timed.end(330, 2, 3)
        assert busy_of(sums, reset=True) == {("", 0): 30, (HERE, 0): 10, (THERE, 0): 30}


def test_what_the_engine_answers_at_once_counts_where_nothing_else_does(timed: Timed) -> None:
    """A reader who has a log is told of such commands many at a time, and of the others one by one."""
    probes, conn = timed.host.probes, timed.conns[2]

    def fast(lun: int) -> None:
        if probes.log is None:  # in C all are told one by one
            probes.pdu(Probe.SCSI_COMMAND, conn, lun, bhs(1, 0xC0, 7, word20=4096, cdb=READ10), 0, READ10[:10])
            timed.clock.now += 10
            probes.pdu(Probe.DATA_SEND, conn, lun, bhs(0x25, 0x81, 7, 4096))
            return
        ticks = iter((timed.clock.now, timed.clock.now + 10))
        probes.clock = lambda: next(ticks)
        add_to_log(probes, conn, lun, 0x2800, 7, 4096)
        probes.clock = timed.clock
        timed.clock.now += 10

    with trace.Sums(busy=True) as sums:
        timed.at(0, lambda: (fast(0), fast(0), fast(3)))
        timed.begin(100, 1, 1)
        timed.at(150, lambda: (fast(0), fast(3)))
        timed.end(200, 1, 1)
        timed.at(300, lambda: fast(0))
        assert busy_of(sums) == {
            ("", 0): 130, (HERE, 0): 100, (THERE, 0): 40, ("", 3): 20, (THERE, 3): 20,
        }  # fmt: skip


def test_it_is_kept_for_who_asks(timed: Timed) -> None:
    with trace.Sums() as sums:
        timed.begin(100, 1, 1)
        timed.end(200, 1, 1)
        assert sums.snapshot().busy is None


def test_names_that_an_initiator_makes_up_are_bounded(timed: Timed) -> None:
    """And those of connections that are gone make room when they have been read."""
    with trace.Sums(busy=True) as sums:
        for number, conn in timed.conns.items():

            def begin(conn: ConnectionInfo = conn) -> None:
                for lun in range(MOST_SCOPES):
                    timed.host.probes.pdu(Probe.SCSI_COMMAND, conn, lun, bhs(1, 0x80, lun), 0, bytes(6))

            timed.at(number * 10, begin)
            timed.clock.now += 1
            timed.host.call(lambda number=number: timed.host.server.connection_closed(number))
        assert len(busy_of(sums, reset=True)) == MOST_SCOPES
        timed.begin(100, 1, 1, lun=9)
        timed.end(130, 1, 1, lun=9)
        assert busy_of(sums) == {("", 9): 30, (HERE, 9): 30}
