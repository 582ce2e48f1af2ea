"""One stream, four ways: sums in the server, events out of the ring, events over the socket, a recorded file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.client.attach import Sums, attach
from iscsitools.trace.client.recording import open_file
from iscsitools.trace.client.replay import Replay
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.snapshot import Snapshot
from iscsitools.trace.views.clock import Clock
from iscsitools.trace.views.cmds import cmds_report
from iscsitools.trace.views.heatmap import heatmap_report
from iscsitools.trace.views.io import io_report
from iscsitools.trace.views.over_time import GridView, PhaseView
from iscsitools.trace.views.report import Report
from iscsitools.trace.views.run import event_batches, snapshots
from iscsitools.trace.views.rwlat import percentile_report, rwlat_report
from iscsitools.trace.views.snoop import SlowView, SnoopView
from iscsitools.trace.views.watch import EndRequest, WatchOptions
from iscsitools.trace.views.who import WhoSums

from .stage import Stage, record
from .traffic import TARGET, mixed

ELAPSED = 2_500_000_000


class Quiet:
    """Hears nothing but that tracing began."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.notes: list[str] = []
        self.clock = Clock()

    def started(self) -> None:
        self.began.set()

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def recorded(stage: Stage, tmp_path: Path) -> Path:
    path = tmp_path / "trace"
    return record(stage, mixed(), path)


def who(snapshot: Snapshot, elapsed: int) -> Report:
    sums = WhoSums()
    sums.take(snapshot)
    return sums.report(elapsed)


FILTERS: list[dict[str, Any]] = [
    {}, {"client": "192.0.2.7"}, {"client": "iqn.2026-11.example:b"}, {"target": TARGET}, {"lun": 1},
    {"client": "2001:db8::7", "lun": 0}, {"target": "iqn.2026-11.example:none"},
]  # fmt: skip


@pytest.mark.parametrize("selected", FILTERS, ids=str)
def test_sums_of_a_server_and_of_a_file(stage: Stage, tmp_path: Path, selected: dict[str, Any]) -> None:
    script = mixed()
    with Sums(socket=stage.watch, events=True, **selected) as sums:
        path = record(stage, script, tmp_path / "trace")
        live = sums.snapshot()
    replay = Replay(Selection(ALL_MASK, **selected), events=True)
    with open_file(path) as trace:
        while not trace.ended:
            replay.feed(trace, trace.read_block())
    for report in (who, io_report, rwlat_report, percentile_report, cmds_report):
        assert report(live, ELAPSED) == report(replay.snapshot(), ELAPSED), report.__name__


VIEWS: list[Callable[[], Any]] = [PhaseView, lambda: GridView(60), lambda: WhoSums("lun")]


def report_of(view: Any) -> Report:
    return heatmap_report(view) if isinstance(view, GridView) else view.report(ELAPSED)


@pytest.mark.parametrize("selected", FILTERS, ids=str)
def test_events_of_a_server_and_of_a_file(stage: Stage, tmp_path: Path, selected: dict[str, Any]) -> None:
    script = mixed()
    views = [(make(), make(), make()) for make in VIEWS]
    with (
        attach(socket=stage.watch, mode="ring", **selected) as ring,
        attach(socket=stage.watch, mode="socket", **selected) as over_socket,
    ):
        path = record(stage, script, tmp_path / "trace")
        for which, trace in enumerate((ring, over_socket)):
            for event in all_there(trace):
                for view in views:
                    view[which].feed(event)
    with EndRequest() as stop:
        for batch in event_batches(WatchOptions(read=path, **selected), ALL_MASK, Quiet(), stop):
            for event in batch.events:
                for view in views:
                    view[2].feed(event)
    for one, other, replayed in views:
        assert report_of(one) == report_of(replayed)
        assert report_of(other) == report_of(replayed)


def all_there(trace: Any) -> Iterator[Any]:
    """Everything up to the first quarter of a second without an event: the script has been played before."""
    while events := trace.poll(0.25):
        yield from events


def test_snoop_of_a_file_is_snoop_of_the_calls(recorded: Path) -> None:
    script = mixed()
    for live, replayed in ((SnoopView(), SnoopView()), (SnoopView(wide=True), SnoopView(wide=True))):
        expected = [report for event in script.events() for report in live.reports(event)]
        assert streamed(recorded, replayed) == expected


def test_slow_commands_of_a_file_are_those_of_the_calls(recorded: Path) -> None:
    script = mixed()
    live, replayed = SlowView(100_000, True), SlowView(100_000, True)
    wanted = [event for event in script.events() if live.mask >> event.probe & 1]
    expected = [report for event in wanted for report in live.reports(event)]
    assert len(expected) > 7
    assert streamed(recorded, replayed) == expected


def streamed(path: Path, view: Any) -> list[Report]:
    with EndRequest() as stop:
        batches = event_batches(WatchOptions(read=path), view.mask, Quiet(), stop)
        return [report for batch in batches for event in batch.events for report in view.reports(event)]


def test_intervals_of_a_file_add_up_to_the_whole(recorded: Path) -> None:
    with EndRequest() as stop:
        whole = [s for s, _ in snapshots(WatchOptions(read=recorded), Quiet(), stop)]
        parts = list(snapshots(WatchOptions(read=recorded, interval=0.3), Quiet(), stop))
    assert len(whole) == 1
    assert len(parts) > 5
    assert [elapsed for _, elapsed in parts[:3]] == [300_000_000, 600_000_000, 900_000_000]
    # rates are of the interval, whether or not its first and last moments saw an event
    assert [s.time - s.since for s, _ in parts[:-1]] == [300_000_000] * (len(parts) - 1)
    assert sum(r.commands for s, _ in parts for r in s.commands) == sum(r.commands for r in whole[0].commands)
    assert sum(r.in_bytes for s, _ in parts for r in s.commands) == sum(r.in_bytes for r in whole[0].commands)


def test_count_ends_the_reports(recorded: Path) -> None:
    with EndRequest() as stop:
        assert len(list(snapshots(WatchOptions(read=recorded, interval=0.3, count=2), Quiet(), stop))) == 2


def test_the_report_so_far_when_the_server_goes_away(stage: Stage) -> None:
    listener = Quiet()
    with EndRequest() as stop:
        batches = event_batches(replace(WatchOptions(), socket=stage.watch), ALL_MASK, listener, stop)
        counted = WhoSums()
        script = mixed()
        for number, batch in enumerate(batches):
            for event in batch.events:
                counted.feed(event)
            if number == 0:
                stage.play(script)
                stage.stop()
            if batch.elapsed is not None:
                break
    assert sum(counted.counts.values()) == len(script.calls)
    assert listener.notes == ["the server is gone"]
