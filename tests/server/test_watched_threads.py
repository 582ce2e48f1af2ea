"""Data threads while somebody looks: every event is there, in its place, and every sum, and the threads go on."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.native import needs_data_path

from iscsitools import trace
from iscsitools.initiator import Session
from iscsitools.probes.table import Probe
from iscsitools.trace.client.live import RingTrace
from iscsitools.trace.sums.snapshot import Snapshot
from iscsitools.wire.scsi import ManagementFunction

from .harness import Running, eventually, one_target, running
from .lending import Load, lent, read_until_lent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
BLOCKS = 8
READ = [Probe.SCSI_COMMAND, Probe.XFER_START, Probe.DATA_SEND, Probe.XFER_DONE]
WRITE = [Probe.SCSI_COMMAND, Probe.XFER_START, Probe.XFER_DONE, Probe.SCSI_RESPONSE]


@pytest.fixture(params=["ram", "file"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    needs_data_path()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    disk = "ram:16M" if request.param == "ram" else f"file:{tmp_path}/disk,size=16M"
    more = "threads = 2\n"
    with running(tmp_path, one_target(disk, disk if request.param == "ram" else "ram:1M", more=more)) as found:
        yield found


def guests(server: Running) -> list[int]:
    threads = server.server.connections.threads
    assert threads is not None
    return [thread.guests for thread in threads.threads]


def socket_of(server: Running) -> Path:
    assert server.server.trace is not None
    return server.server.trace.paths.watch


def by_command(events: list[trace.Event]) -> dict[tuple[int, int], list[trace.Event]]:
    """Of each connection, each command's events in the order in which they were read."""
    found: dict[tuple[int, int], list[trace.Event]] = defaultdict(list)
    for event in events:
        found[event.conn.ident, event.info.itt].append(event)
    return found


def read_all(source: trace.Trace) -> list[trace.Event]:
    """Until nothing comes for a while; whoever makes events has ended."""
    events: list[trace.Event] = []
    while more := source.poll(0.5):
        events += more
    return events


def test_every_event_of_commands_in_threads_is_read_in_its_order(server: Running) -> None:
    with trace.attach(socket=socket_of(server)) as source:
        assert isinstance(source, RingTrace)
        sessions = [server.connect(name=f"s{number}") for number in range(4)]
        read_until_lent(server, sessions)
        read_all(source)
        for session in sessions:
            for number in range(101):
                session.write(number, bytes(512))
                session.read(number, BLOCKS)
        for session in sessions:
            session.write(0, bytes(512), lun=1)
        events = read_all(source)
        given = source.events_by_ring[1:]
        for session in sessions:
            session.logout()
        ends = read_all(source)
    assert source.drops == 0
    assert [event.time for event in events] == sorted(event.time for event in events)
    commands = by_command(events)
    kinds = Counter(tuple(event.probe for event in one) for one in commands.values())
    assert kinds == {tuple(READ): 4 * 101, tuple(WRITE): 4 * 102}
    if server.server.assembly.stores[0][1].kind == "ram":  # a slow disk has the loop's thread serve for a while
        assert min(given) > 2 * 101 * 8
    assert {event.conn.initiator[-2:] for event in events} == {"s0", "s1", "s2", "s3"}
    assert Counter(event.info.lun for event in events) == {0: 4 * 202 * 4, 1: 4 * 4}
    assert {event.probe for event in ends} == {Probe.LOGOUT_COMMAND, Probe.LOGOUT_RESPONSE}


def test_an_end_is_told_after_the_last_event_whoever_served(server: Running) -> None:
    with trace.attach(socket=socket_of(server)) as source:
        session = server.connect()
        read_until_lent(server, [session])
        session.read(0, 1)
        session.close()
        seen: list[trace.Event] = []
        closed: list[int] = []
        while not closed:
            seen += source.poll(0.1)
            closed += source.take_closed()
    assert closed == [seen[-1].conn.ident]
    (last, *_) = [event for event in reversed(seen) if event.probe == Probe.DATA_SEND]
    assert last.info.itt == seen[-1].info.itt


@pytest.mark.parametrize("mode", ["ring", "socket"])
def test_events_of_a_load_that_moves_to_and_fro(server: Running, mode: str) -> None:
    """Commands that need a task send connections back; who reads over the socket has the loop serve all."""
    with trace.attach(socket=socket_of(server), mode=mode, ring_size=64 << 20) as source:
        events: list[trace.Event] = []
        ends = threading.Event()

        def keep_reading() -> None:
            while not ends.is_set():
                events.extend(source.poll(0.02))

        reader = threading.Thread(target=keep_reading)
        reader.start()
        load = Load(server, 4)
        other = server.connect(name="other")
        rng = random.Random(3)
        for _ in range(20):
            load.goes_on(rng.randrange(1, 60))
            other.manage(ManagementFunction.LOGICAL_UNIT_RESET, 0)
            other.command(bytes(6))
        if mode == "socket":
            assert guests(server) == [0, 0]
        load.end()
        other.logout()
        eventually(lambda: sum(event.probe == Probe.LOGOUT_RESPONSE for event in list(events)) == 5, "all events")
        ends.set()
        reader.join()
    assert source.drops == 0
    counts = Counter(event.probe for event in events)
    assert counts[Probe.SCSI_COMMAND] == counts[Probe.DATA_SEND] + counts[Probe.SCSI_RESPONSE]
    assert counts[Probe.XFER_START] == counts[Probe.XFER_DONE] == sum(load.done) - sum(load.refused)
    whole = {tuple(READ), tuple(WRITE)}
    commands = [tuple(e.probe for e in one) for one in by_command(events).values()]
    assert sum(tuple(kind[:4]) in whole for kind in commands) >= sum(load.done) // 2


def totals(snapshot: Snapshot) -> tuple[int, int, int, int]:
    rows = [row for row in snapshot.commands if row.opcode in (0x28, 0x2A)]
    return (
        sum(row.commands for row in rows), sum(row.ended for row in rows), sum(row.in_bytes for row in rows),
        sum(row.out_bytes for row in rows),
    )  # fmt: skip


def test_sums_are_exact_whoever_serves_and_however_often_they_are_read(server: Running) -> None:
    with (
        trace.Sums(socket=socket_of(server), histograms=("size", "depth", "sending", "backstore"), busy=True) as sums,
        trace.Sums(socket=socket_of(server)) as late,
    ):
        load = Load(server, 4)
        eventually(lambda: sum(guests(server)), "some in threads")
        added = [0, 0, 0, 0]
        for _ in range(50):
            load.goes_on(20)
            added = [one + other for one, other in zip(added, totals(sums.snapshot(reset=True)), strict=True)]
        load.end()
        last = sums.snapshot(reset=True)
        added = [one + other for one, other in zip(added, totals(last), strict=True)]
        all_of_them = late.snapshot()
        assert tuple(added) == totals(all_of_them)
        assert added[0] == added[1] == sum(load.done)
        assert added[2] + added[3] == 4096 * sum(load.done)
        assert last.lost == 0
    lent(server, 0)


def test_sums_of_a_watched_unit_are_busy_while_threads_serve(server: Running) -> None:
    with trace.Sums(socket=socket_of(server), busy=True) as sums:
        load = Load(server, 2)
        eventually(lambda: sum(guests(server)), "some in threads")
        sums.snapshot(reset=True)
        load.goes_on(100)
        snapshot = sums.snapshot()
        load.end()
        assert snapshot.busy is not None
        (whole,) = (time for scope, time in snapshot.busy.items() if not scope.client and scope.lun == 0)
        latencies = sum(row.latency for row in snapshot.commands)
        assert 0 < whole <= latencies


def test_who_looks_comes_and_goes_beside_a_load(server: Running) -> None:
    load = Load(server, 4)
    for number in range(12):
        with trace.attach(socket=socket_of(server)) if number % 2 else trace.Sums(socket=socket_of(server)) as watcher:
            load.goes_on(10)
            if isinstance(watcher, trace.Sums):
                assert totals(watcher.snapshot())[0] > 0
            else:
                assert watcher.poll(10)
    load.goes_on(50)
    load.end()
    assert sum(load.refused) == 0


def test_sums_know_what_a_session_did_before_and_after_it_was_lent(server: Running) -> None:
    """Distances and depths go on over the border."""
    with trace.Sums(socket=socket_of(server), histograms=("seek", "depth")) as sums:
        session = server.connect()
        sums.snapshot(reset=True)
        lba = 0
        for _ in range(53):
            session.read(lba, BLOCKS)
            lba += BLOCKS
        eventually(lambda: session.read(0, BLOCKS) and sum(guests(server)) == 1, "in a thread")
        sums.snapshot(reset=True)
        session.read(1000, BLOCKS)
        session.command(bytes(6))  # by the loop's thread
        session.read(1000 + BLOCKS, BLOCKS)
        session.write(1000 + 2 * BLOCKS, bytes(512))
        snapshot = sums.snapshot()
        seeks: Counter[int] = Counter()
        depths: Counter[int] = Counter()
        for row in snapshot.commands:
            seeks.update(row.histograms["seek"].counts)
            depths.update(row.histograms["depth"].counts)
        assert sum(depths.values()) == 4
        assert len(depths) == 1  # always one at a time
        assert seeks[0] == 2  # behind each other
        session.logout()


def test_ends_with_a_reader_that_breaks(server: Running) -> None:
    """Who breaks off in the middle takes nothing with him."""
    load = Load(server, 2)
    source = trace.attach(socket=socket_of(server))
    assert source.poll(10)
    source.close()
    load.goes_on(50)
    eventually(lambda: not server.server.probes.mask, "nobody looks any more")
    eventually(lambda: sum(guests(server)) == 2, "in threads again")
    load.end()


def test_connect_shows_up_early_enough(server: Running) -> None:
    """Strings are told before records that need them, whichever ring those are in."""
    with trace.attach(socket=socket_of(server)) as source:
        names = set()
        sessions: list[Session] = [server.connect(name=f"n{number}") for number in range(8)]
        read_until_lent(server, sessions)
        for event in read_all(source):
            names.add(event.conn.initiator)
        assert {f"iqn.2026-11.example:n{number}" for number in range(8)} <= names
        for session in sessions:
            session.logout()
