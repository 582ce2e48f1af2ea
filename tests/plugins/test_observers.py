from __future__ import annotations

import itertools
import logging
import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from iscsitools.hookspecs import hookimpl
from iscsitools.lifecycle import Lifecycle, SessionNotice, TargetNotice
from iscsitools.observers import ObserverFeed
from iscsitools.plugins import PluginManager
from iscsitools.probes.firing import XFER_READ, Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.events import Event

BHS = bytes(range(48))
WAIT = 10  # seconds, for what must happen; none of it is a measurement


class Collector:
    def __init__(self, *probes: Any) -> None:
        self.probes = probes
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()

    def on_event(self, event: Event) -> None:
        self.started.set()
        self.gate.wait(WAIT)
        self.events.put(event)

    def all(self) -> list[Event]:
        return [self.events.get_nowait() for _ in range(self.events.qsize())]


@pytest.fixture
def probes() -> Probes:
    return Probes(itertools.count(1000).__next__)


def test_an_observer_gets_copies_of_what_it_asked_for(probes: Probes) -> None:
    seen = Collector(Probe.SCSI_COMMAND, Probe.XFER_DONE)
    feed = ObserverFeed(seen, "p", probes)
    conn = ConnectionInfo(7, remote="a:1", initiator="iqn.old")
    buffer = bytearray(BHS)
    probes.pdu(Probe.SCSI_COMMAND, conn, 3, buffer, 0, b"\x28" + bytes(39))
    probes.xfer(Probe.XFER_DONE, conn, 3, 1, 2, 4096, 0, 512, XFER_READ)
    buffer[:] = bytes(48)
    conn.initiator, conn.generation = "iqn.new", 1
    probes.pdu(Probe.SCSI_COMMAND, conn, 3, buffer, 0, b"\x2a" + bytes(9))
    feed.close(WAIT)
    first, second, third = seen.all()
    assert (first.sequence, first.probe, first.time) == (1, Probe.SCSI_COMMAND, 1000)
    assert (first.bhs, first.info.itt) == (BHS, 0x10111213)
    assert (len(first.cdb), first.cdb_length) == (32, 40)
    assert (first.conn.initiator, third.conn.initiator) == ("iqn.old", "iqn.new")
    assert second.xfer is not None
    assert (second.xfer.length, second.info.itt, second.info.ttt, second.info.lun) == (512, 1, 2, 3)
    assert probes.mask == 0


def test_events_wait_in_a_bounded_queue_and_drops_are_counted(probes: Probes) -> None:
    seen = Collector(Probe.NOP_SEND)
    seen.gate.clear()
    feed = ObserverFeed(seen, "p", probes, limit=10)
    conn = ConnectionInfo(1)
    probes.pdu(Probe.NOP_SEND, conn, 0, BHS)
    assert seen.started.wait(WAIT)  # it holds the first; the queue is empty
    for _ in range(13):
        probes.pdu(Probe.NOP_SEND, conn, 0, BHS)
    assert feed.dropped == 3
    seen.gate.set()
    feed.close(WAIT)
    assert [e.sequence for e in seen.all()] == list(range(1, 12))


def test_an_observer_that_raises_is_logged_once_and_detached(probes: Probes, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        def on_event(self, event: Event) -> None:
            super().on_event(event)
            raise RuntimeError("no")

    broken, fine = Broken(Probe.NOP_SEND, Probe.ASYNC_SEND), Collector(Probe.NOP_SEND)
    feeds = [ObserverFeed(broken, "broken-plugin", probes), ObserverFeed(fine, "fine", probes)]
    conn = ConnectionInfo(1)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            probes.pdu(Probe.NOP_SEND, conn, 0, BHS)
        for feed in feeds:
            feed._worker.close(WAIT)
        probes.pdu(Probe.NOP_SEND, conn, 0, BHS)
    assert feeds[0].failed
    assert probes.mask == 1 << Probe.NOP_SEND
    assert len(broken.all()) == 1
    assert len(fine.all()) == 3
    assert len([r for r in caplog.records if "broken-plugin" in r.getMessage()]) == 1


def test_lifecycle_hooks_run_elsewhere_and_one_that_raises_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[tuple[Any, ...]] = []

    @hookimpl
    def session_opened(session: SessionNotice) -> None:
        calls.append((session.initiator, threading.current_thread() is threading.main_thread()))

    @hookimpl
    def bad_session_opened(session: SessionNotice) -> None:
        raise ValueError("no")

    @hookimpl
    def target_started() -> None:
        calls.append(("started",))

    manager = PluginManager()
    good = SimpleNamespace(ISCSITOOLS_API=1, session_opened=session_opened, target_started=target_started)
    assert manager.register(good, "good").status == "loaded"
    assert (
        manager.register(SimpleNamespace(ISCSITOOLS_API=1, session_opened=bad_session_opened), "bad").status == "loaded"
    )
    lifecycle = Lifecycle(manager.calls)
    session = SessionNotice("iqn.t", "iqn.i", "0" * 12, 1, "a:1")
    with caplog.at_level(logging.ERROR):
        lifecycle.target_started(TargetNotice("iqn.t", ("a:1",)))
        for _ in range(3):
            lifecycle.session_opened(session)
        lifecycle.session_closed(session)
        lifecycle.target_stopped(TargetNotice("iqn.t", ("a:1",)))
        lifecycle.close(WAIT)
    assert calls == [("started",)] + [("iqn.i", False)] * 3
    assert len([r for r in caplog.records if "plugin bad" in r.getMessage()]) == 1


def test_observers_come_from_the_hook_and_wrong_ones_are_named(caplog: pytest.LogCaptureFixture) -> None:
    seen = Collector(Probe.NOP_SEND)
    manager = PluginManager()
    for name, answer in (("one", [seen]), ("none", None), ("wrong", [object()]), ("odd", [Collector("scsi-command")])):

        @hookimpl
        def observe_probes(answer: Any = answer) -> Any:
            return answer

        assert (
            manager.register(SimpleNamespace(ISCSITOOLS_API=1, observe_probes=observe_probes), name).status == "loaded"
        )
    with caplog.at_level(logging.ERROR):
        assert manager.observers() == [("one", seen)]
    assert "plugin wrong: observe_probes failed" in caplog.text
    assert "plugin odd: observe_probes failed" in caplog.text
