"""A recording whose bytes were damaged: every view prints what it can, or the reason in one line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from iscsitools.cli.main import run
from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.client.attach import attach
from iscsitools.trace.client.checked import selected
from iscsitools.trace.client.recording import Recorder, open_file
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.selection import Selection
from iscsitools.trace.views.clock import Clock
from iscsitools.trace.views.cmds import cmds_report
from iscsitools.trace.views.io import io_report
from iscsitools.trace.views.over_time import GridView, PhaseView
from iscsitools.trace.views.run import event_batches, snapshots
from iscsitools.trace.views.rwlat import rwlat_report
from iscsitools.trace.views.sessions import sessions_report
from iscsitools.trace.views.snoop import SlowView, SnoopView
from iscsitools.trace.views.top.model import TopModel
from iscsitools.trace.views.top.samples import sample_of
from iscsitools.trace.views.top.text import batch_lines
from iscsitools.trace.views.watch import EndRequest, WatchOptions
from iscsitools.trace.views.who import WhoSums

from .stage import SESSION, Stage
from .traffic import Script, connection, mixed

ROUNDS = 75


class Quiet:
    """A listener."""

    def __init__(self) -> None:
        self.clock = Clock()

    def started(self) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        assert "\n" not in text


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("damaged") / "trace"
    script = mixed(7, 5)
    with Stage("damaged", path.parent) as stage, attach(socket=stage.watch) as trace, path.open("wb") as out:
        recorder = Recorder(out, trace.server, {})
        stage.play(script)
        while trace.position < len(script.calls):
            recorder.write(trace, trace.read_block(5))
        for _ in range(4):
            recorder.write_status({"time": 1, "sessions": 1, "connections": 1, "cpu": 0.25})
            recorder.write_sessions([SESSION, SESSION])
        recorder.finish(trace.drops)
    return path.read_bytes()


def look(path: Path) -> None:
    """Through every view, as the commands do."""
    with open_file(path) as trace:
        for _ in trace:
            pass
    for chosen in (Selection(ALL_MASK, "192.0.2.7"), Selection(ALL_MASK, lun=300)):
        sessions_report(selected(trace.sessions or [], chosen))
    model = TopModel()
    counted, views = WhoSums("lun"), (SnoopView(wide=True), SnoopView(), SlowView(0, errors=True))
    others: tuple[Any, ...] = (GridView(60), PhaseView(), counted)
    with EndRequest() as stop:
        for batch in event_batches(WatchOptions(read=path), ALL_MASK, Quiet(), stop):
            for event in batch.events:
                for view in views:
                    list(view.reports(event))
                for other in others:
                    other.feed(event)
            for ident in batch.closed:
                for watching in (*views, *others):
                    list(watching.closed(ident) or ())
        for snapshot, _ in snapshots(WatchOptions(read=path), Quiet(), stop, events=True):
            for report in (cmds_report, io_report, rwlat_report):
                report(snapshot, snapshot.time - snapshot.since)
            model.update("damaged", sample_of("damaged", snapshot, Selection(ALL_MASK)))
            batch_lines(model, "client, target, LUN", "ALL/s")


@pytest.mark.parametrize("seed", range(4))
def test_every_view_of_damaged_files(content: bytes, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    read = refused = 0
    for _ in range(ROUNDS):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 3, 30))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 0xFF, chance.randrange(256)))
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            look(tmp_path / "damaged")
        except TraceError as error:
            lines = str(error).splitlines()
            refused += len(lines) == 1
        else:
            read += 1
    assert read
    assert refused == ROUNDS - read


def test_a_command_is_reported_when_its_connection_was_lost(tmp_path: Path) -> None:
    script, path = Script(), tmp_path / "trace"
    script.command(connection(1), bytes.fromhex("28000000000000000800"), 7)
    with Stage("lost", tmp_path) as stage, attach(socket=stage.watch) as trace, path.open("wb") as out:
        recorder = Recorder(out, trace.server, {})
        stage.play(script)
        recorder.write(trace, trace.read_block(30))
        stage.call(lambda: stage.server.connection_closed(1))
        stage.stop()
        while not trace.ended:
            recorder.write(trace, trace.read_block(30))
        recorder.finish(trace.drops)
    view, reports = SlowView(None, errors=True), []
    with EndRequest() as stop:
        for batch in event_batches(WatchOptions(read=path), view.mask, Quiet(), stop):
            reports += [report for event in batch.events for report in view.reports(event)]
            reports += [report for ident in batch.closed for report in view.closed(ident)]
    assert [(r.records[0]["command"], r.records[0]["result"]) for r in reports] == [("READ(10) 0+8", "aborted")]


def test_control_characters_in_names_do_not_reach_the_terminal(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a recording that somebody made up has them."""
    path = tmp_path / "crafted"
    path.write_bytes(content.replace(b"example:", b"exampl\\u001b:"))
    for command in (["who", "--by", "session"], ["who", "--by", "target"], ["snoop", "--wide"], ["top"], ["sessions"]):
        assert run([*command, "--read", str(path)]) == 0
        printed = capsys.readouterr().out
        assert "exampl?:" in printed or command == ["top"]
        assert "\x1b" not in printed
