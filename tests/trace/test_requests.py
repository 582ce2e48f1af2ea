"""Questions about the target, and the control socket."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from iscsitools import trace
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.credentials import credentials
from iscsitools.trace.events import ConnectionStrings
from iscsitools.trace.feed import peer
from iscsitools.trace.feed.peer import PARTS_OF_A_TURN
from iscsitools.trace.protocol import ReaderLimits
from iscsitools.trace.sums.snapshot import CommandRow, EventRow, Snapshot

from .support import Host, connection, fire_read

SESSION = {
    "id": "1", "initiator": "iqn.2026-11.example:ünï", "alias": "", "addresses": ["192.0.2.7:40001"],
    "target": "iqn.2026-11.example:t", "isid": "80123456789a", "tsih": "0x0001", "age": 1.5, "chap": "",
    "header_digest": "None", "data_digest": "None", "luns": [0], "commands": 1, "read_bytes": 0, "written_bytes": 0,
    "keys": {"MaxConnections": 1}, "trouble": ["LUN 0: a flush failed"],
}  # fmt: skip


class FakeState:
    def __init__(self, connections: int = 1) -> None:
        self.dropped: list[str] = []
        self.ended = False
        self.open = [connection(ident) for ident in range(1, connections + 1)]

    def connections(self) -> Iterable[ConnectionInfo]:
        return self.open

    def sessions(self) -> list[dict[str, Any]]:
        return [SESSION | {"alias": "x" * 100}] * len(self.open)

    def status(self) -> dict[str, Any]:
        who = {"remote": "192.0.2.7:40001", "initiator": "iqn.2026-11.example:ünï", "target": "iqn.2026-11.example:t"}
        return {"cpu": 1.5, "in_flight": [who | {"lun": 0, "commands": 3}]}

    def drop(self, session: str) -> bool:
        self.dropped.append(session)
        return session == "1"

    def shut_down(self) -> None:
        self.ended = True


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def server(make_host: Callable[..., Host], state: FakeState) -> Host:
    return make_host(state=state)


def test_questions(server: Host, state: FakeState) -> None:
    with trace.WatchedServer() as asked:
        assert asked.sessions() == state.sessions()
        assert asked.status() == state.status()
        assert asked.probes() == []
        with trace.attach(probes=["nop-send"]):
            assert asked.probes() == ["nop-send"]
        assert asked.server["pid"] == os.getpid()
    with trace.Sums() as sums:
        assert sums.snapshot().status == state.status()


def test_only_the_control_socket_changes_anything(server: Host, state: FakeState) -> None:
    with trace.WatchedServer() as watching:
        for change in (lambda: watching.drop("1"), watching.shut_down):
            with pytest.raises(trace.TraceError, match="only the control socket"):
                change()
    assert state.dropped == []
    with trace.WatchedServer(control=True) as controlling:
        controlling.drop("1")
        with pytest.raises(trace.TraceError, match="no session '2'"):
            controlling.drop("2")
        controlling.shut_down()
    assert state.dropped == ["1", "2"]
    assert state.ended


def test_long_answers_arrive_whole(make_host: Callable[..., Host]) -> None:
    """A thousand sessions are more than a socket takes at once."""
    state = FakeState(3000)
    make_host(state=state)
    with trace.WatchedServer() as asked:
        assert asked.sessions() == state.sessions()


def test_attaching_to_a_server_with_many_connections(make_host: Callable[..., Host]) -> None:
    """Their strings fill the socket several times over: events begin when they have been taken."""
    state = FakeState(3000)
    host = make_host(state=state)
    with trace.attach(mode="ring") as source:
        host.call(lambda: [fire_read(host.probes, conn) for conn in state.open])
        seen: set[int] = set()
        while len(seen) < 3000:
            seen |= {event.conn.ident for event in source.poll(60)}
    assert source.drops == 0


@pytest.mark.parametrize(
    ("uid", "groups", "watch", "control"),
    [
        (0, set(), True, True),
        (os.geteuid(), set(), True, True),
        (os.geteuid() + 12345, {os.getegid()}, True, False),
        (os.geteuid() + 12345, {os.getegid() + 12345}, False, False),
    ],
)
def test_who_may_connect(
    host: Host, monkeypatch: pytest.MonkeyPatch, uid: int, groups: set[int], watch: bool, control: bool
) -> None:
    monkeypatch.setattr("iscsitools.trace.feed.service.credentials", lambda sock: (uid, groups))
    for path, allowed in ((host.watch, watch), (host.control, control)):
        if allowed:
            trace.WatchedServer(socket=path).close()
        else:
            with pytest.raises(trace.TraceError, match="may not use this socket"):
                trace.WatchedServer(socket=path)


def test_credentials_come_from_the_kernel() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        uid, groups = credentials(one)
    assert uid == os.geteuid()
    assert groups == {os.getegid(), *os.getgroups()}


def test_a_fault_of_the_state_is_an_error_for_its_reader_only(
    server: Host, state: FakeState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state, "sessions", lambda: 1 // 0)
    with trace.WatchedServer() as asked, pytest.raises(trace.TraceError, match="ZeroDivisionError"):
        asked.sessions()
    assert [record.name for record in caplog.records] == [peer.__name__]
    with trace.WatchedServer() as asked:
        assert asked.status()


def test_a_long_answer_is_made_in_turns(make_host: Callable[..., Host]) -> None:
    """While one reader's list of sessions is made, events of others go on: they are asked for in parts."""
    asked: list[int] = []

    class Many(FakeState):
        def sessions(self) -> Iterable[dict[str, Any]]:
            for number in range(1000):
                asked.append(number)
                yield SESSION

    host = make_host(state=Many())
    turns = 0

    def turn() -> None:
        nonlocal turns
        if 0 < len(asked) < 1000:
            turns += 1
        if len(asked) < 1000:
            host.loop.call_later(0, turn)

    host.call(turn)
    with trace.WatchedServer(socket=host.watch) as server:
        assert len(server.sessions()) == 1000
    assert turns >= 1000 // PARTS_OF_A_TURN - 2


def test_the_parts_of_a_snapshot_are_its_json(make_host: Callable[..., Host]) -> None:
    conn = ConnectionStrings(3, "l", "r", "ipv4", "t", "i", "80", "0x0001", "sockets")
    row = CommandRow(conn, 4, 0x28, None, True, False, 5, 5, 900, 300, 1, 5, 20480, 0, 0, {80: 5}, {0x52400: 1})
    for commands, events in (([], []), ([row], []), ([row, row], [EventRow(conn, {Probe.SCSI_COMMAND: 7})])):
        snapshot = Snapshot(1, 2, commands, events, 3)
        assert json.loads(b"".join(snapshot.to_parts())) == json.loads(json.dumps(snapshot.to_json()))


def test_readers_share_what_all_of_them_may_cost(make_host: Callable[..., Host]) -> None:
    host = make_host(limits=ReaderLimits(units_per_second=100, units_of_all=30), state=FakeState())
    readers = [trace.WatchedServer(socket=host.watch) for _ in range(3)]
    counts = [0, 0, 0]
    started = time.monotonic()

    def ask(number: int) -> None:
        while time.monotonic() - started < 2.5:
            readers[number].probes()
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for reader in readers:
        reader.close()
    assert sum(counts) <= 30 * 4 + 3
    assert min(counts) > 0
