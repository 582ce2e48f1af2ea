"""In which form people and programs see times."""

from __future__ import annotations

from typing import Any

import pytest

from iscsitools.trace.views.clock import Clock, Times, day_text
from iscsitools.trace.views.heatmap import heatmap_report
from iscsitools.trace.views.over_time import GridView
from iscsitools.trace.views.sessions import since_text
from iscsitools.trace.views.snoop import SlowView, SnoopView

from .traffic import Script, connection, mixed

NOON = 1_795_780_800
"""2026-11-27 12:00:00 UTC."""
SERVER = {"realtime": NOON * 10**9, "monotonic": 5_000_000_000}


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Any:
    import time

    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def clock(times: Times, begun: int = 5_000_000_000) -> Clock:
    made = Clock(times)
    made.begins(SERVER, begun)
    return made


@pytest.mark.parametrize(
    ("times", "after", "precise", "event", "exact"),
    [
        (Times.LOCAL, "2026-11-27 13:00:01+01:00", "2026-11-27 13:00:01.500+01:00", "13:00:01.500000",
         "2026-11-27T13:00:01.500000+01:00"),
        (Times.UTC, "2026-11-27 12:00:01+00:00", "2026-11-27 12:00:01.500+00:00", "12:00:01.500000",
         "2026-11-27T12:00:01.500000+00:00"),
    ],
)  # fmt: skip
def test_times_of_day(times: Times, after: str, precise: str, event: str, exact: str) -> None:
    written = clock(times, begun=6_000_000_000)
    assert written.of_day
    assert written.after(500_000_000) == after
    assert written.after(500_000_000, precise=True) == precise
    assert written.of_event(6_500_000_000) == event
    assert written.exact(6_500_000_000) == written.exact_after(500_000_000) == exact


@pytest.mark.parametrize("server", [{}, {"realtime": "now", "monotonic": 1}, {"realtime": 5}])
def test_who_does_not_know_the_time_of_day_says_how_long_it_took(server: dict[str, Any]) -> None:
    made = Clock(Times.UTC)
    made.begins(server, 7)
    for written in (made, clock(Times.RELATIVE)):
        assert not written.of_day
        assert written.after(1_500_000_000, precise=True) == "after 1.5 s"
        assert written.exact(8) == written.exact_after(8) == ""


def test_ages() -> None:
    assert since_text(75, NOON, Times.LOCAL) == "1m15s, since 2026-11-27 12:58:45+01:00"
    assert since_text(75, NOON, Times.UTC) == "1m15s, since 2026-11-27 11:58:45+00:00"
    assert since_text(75, NOON, Times.RELATIVE) == since_text(75, None, Times.UTC) == "1m15s"
    assert day_text(NOON + 0.9, Times.UTC) == "2026-11-27 12:00:00+00:00"


def test_events() -> None:
    events = list(mixed().events())
    offset = NOON * 10**9 - 5_000_000_000 - events[0].time
    told = Clock(Times.UTC)
    told.begins({"realtime": offset + events[0].time, "monotonic": 0}, 0)
    for view in (SnoopView(clock=told), SlowView(0, errors=True, clock=told)):
        lines = [line for event in events for report in view.reports(event) for line in report.lines]
        assert [line for line in lines if len(line) > 80] == []
        assert sum(line.startswith(("11:59:5", "12:00:0")) for line in lines) >= len(events) // 2, lines
    assert SnoopView(clock=told).heading == "TIME            CLIENT          EVENT          LUN ITT      DETAIL"
    (record,) = next(iter(SnoopView(clock=told).reports(events[0]))).records
    assert record["time"] == "0.000000000"
    assert record["clock"] == told.exact(events[0].time) != ""
    assert [record["clock"] for record in next(iter(SnoopView().reports(events[0]))).records] == [""]


def test_a_heat_map_says_of_what_time_it_is() -> None:
    script, view = Script(), GridView(60)
    for _ in range(3):
        script.read(connection(1))
    events = list(script.events())
    for event in events:
        view.feed(event)
    made = Clock(Times.UTC)
    made.begins({"realtime": NOON * 10**9, "monotonic": events[0].time}, events[0].time)
    axis = next(line for line in heatmap_report(view, made).lines if "12:00:0" in line)
    assert axis.startswith(f"{'':>17} 12:00:00.000")
    assert heatmap_report(view).lines != heatmap_report(view, made).lines
