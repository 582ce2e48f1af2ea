"""A recorded file gives what the live commands gave: every number but the times, which each reader takes by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.target import start_target

from iscsitools.initiator import Session
from iscsitools.trace import Event, Recorder, attach, open_file
from iscsitools.trace.record import decode

from . import paths, work
from .commands import AllWatching, records, replay, watch_socket

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("io",),
    ("io", "--commands"),
    ("who",),
    *(("who", "--by", by) for by in ("connection", "session", "target", "lun")),
    ("rwlat",),
    ("rwlat", "--percentiles"),
    ("rwlat", "--phases"),
    ("cmds",),
    ("top", "--batch", "1000"),
    ("snoop",),
    ("snoop", "--wide"),
    ("snoop", "--errors"),
    ("snoop", "--slower", "0"),
    ("io", "--lun", str(work.LARGE)),
    ("who", "--client", "iqn.2026-11.example:i2"),
    ("cmds", "--lun", str(work.FAR)),
)
TIMES = ("time", "clock", "elapsed", "bytes_per_second", "sequence", "latency")


def timeless(found: Any) -> Any:
    """A record without what depends on the clock, or on how many events others had before."""
    if isinstance(found, list):
        return [timeless(item) for item in found]
    if not isinstance(found, dict):
        return found
    return {name: timeless(value) for name, value in found.items() if name not in TIMES and not name.endswith("_ns")}


def by_content(found: list[dict[str, Any]]) -> list[str]:
    """Rows are ordered by numbers that times may be among."""
    return sorted(repr(timeless(record)) for record in found)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, str]]:
    """What a command printed live, and out of the file."""
    directory = tmp_path_factory.mktemp("replay")
    file = directory / "trace"
    luns = [part for number, store in work.LUNS.items() for part in ("--lun", f"{number}={store}")]
    with start_target(directory, "--iqn", work.TARGET, *luns, portals=("127.0.0.1:0", "[::1]:0")) as target:
        as_json = [(*command, "--json") for command in COMMANDS]
        watching = AllWatching(target, [*as_json, ("who",), ("record", "--output", str(file))])
        four, six = target.addresses
        for number, address in ((1, four), (2, six)):
            with work.connect(address, number) as session:
                work.all_work(session)
                session.logout()
        live = watching.end()
    return lambda *command: (live[command], replay(file, *command))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command(printed: Callable[..., tuple[str, str]], command: tuple[str, ...]) -> None:
    live, again = (records(text) for text in printed(*command, "--json"))
    assert live
    if command[0] == "snoop":
        assert timeless(live) == timeless(again)
    else:
        assert by_content(live) == by_content(again)


def test_as_people_read_it(printed: Callable[..., tuple[str, str]]) -> None:
    live, again = printed("who")
    assert live.removeprefix("Tracing... Hit Ctrl-C to end.\n").strip() == again.strip()


@pytest.fixture
def path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options that choose who serves."""
    return paths.options(request)


@pytest.mark.parametrize("path", paths.NATIVE, indirect=True)
def test_the_file_has_every_event_with_its_time(path: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "trace"
    luns = [part for number, store in work.LUNS.items() for part in ("--lun", f"{number}={store}")]
    live: list[Event] = []
    with (
        start_target(tmp_path, *path, "--iqn", work.TARGET, *luns) as target,
        attach(socket=watch_socket(target)) as trace,
        file.open("wb") as out,
    ):
        recorder = Recorder(out, trace.server, {})
        with Session.connect(target.addresses[0], work.TARGET) as session:
            work.all_work(session)
            session.logout()
        target.stop()
        while not trace.ended:
            block = trace.read_block()
            live += decode(block, trace.names)
            recorder.write(trace, block)
        recorder.finish(trace.drops)
    with open_file(file) as recorded:
        assert list(recorded) == live
    assert len(live) > 200
