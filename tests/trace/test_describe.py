"""How often a recording says who is logged in: no more than the events are worth, and when somebody comes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from iscsitools import trace
from iscsitools.trace.client import record_state
from iscsitools.trace.client.record_state import Describer
from iscsitools.trace.client.recording import Recorder
from iscsitools.trace.feed.questions import NoSelfDescription
from iscsitools.trace.protocol import StreamParser
from iscsitools.trace.selection import Selection

from .support import Host, connection, fire_read

SESSION = {
    "id": "1", "initiator": "iqn.2026-11.example:a", "alias": "x" * 300, "addresses": ["192.0.2.7:40001"],
    "target": "iqn.2026-11.example:disks", "isid": "400001370000", "tsih": "0x0001", "age": 1.5, "chap": "",
    "header_digest": "None", "data_digest": "None", "luns": [0], "commands": 1, "read_bytes": 0, "written_bytes": 0,
    "keys": {"InitialR2T": "No"},
}  # fmt: skip


class OneSession(NoSelfDescription):
    """A server with a session."""

    def sessions(self) -> list[dict[str, Any]]:
        return [SESSION]

    def status(self) -> dict[str, Any]:
        return {"time": 1, "sessions": 1, "connections": 1, "cpu": 0.5, "in_flight": []}


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def messages(out: io.BytesIO) -> list[str]:
    """The kinds of what was written beside the events."""
    parser, kinds = StreamParser(), []
    parser.feed(out.getvalue())
    while (item := parser.next()) is not None:
        if isinstance(item, dict):
            kinds += [kind for kind in ("status", "sessions") if kind in item]
    return kinds


def test_sessions_are_told_when_they_may_have_changed(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, clock, out = make_host(state=OneSession()), Clock(), io.BytesIO()
    monkeypatch.setattr(record_state, "time", clock)
    with trace.WatchedServer() as server, trace.attach() as source:
        recorder = Recorder(out, source.server, {})
        describer = Describer(server, recorder, Selection())

        def told(seconds: float, reads: int = 0, ident: int = 1) -> list[str]:
            """What is written when so much time and so many reads of a connection have gone by."""
            before = len(messages(out))
            clock.now += seconds
            wanted = source.position + 4 * reads
            for _ in range(reads):
                host.call(lambda: fire_read(host.probes, connection(ident)))
            while source.position < wanted:
                recorder.write(source, source.read_block(30))
            describer.look()
            return messages(out)[before:]

        assert told(0, reads=1) == ["status", "sessions"]
        assert told(0.5) == []
        assert told(0.6) == ["status"]
        assert told(60) == ["status"]  # nothing has happened
        assert told(1, reads=2) == ["status", "sessions"]  # 1024 bytes of events, more than the list
        assert told(5, reads=20) == ["status"]  # not 10 s later
        assert told(5) == ["status", "sessions"]
        assert told(1, reads=1, ident=2) == ["status", "sessions"]  # another connection
        assert told(20, reads=1) == ["status"]  # 512 bytes, less than the list


def test_a_server_that_tells_less_is_recorded_without_it(make_host: Callable[..., Host]) -> None:
    make_host()
    out = io.BytesIO()
    with trace.WatchedServer() as server, trace.attach() as source:
        Describer(server, Recorder(out, source.server, {}), Selection()).ask()
    assert messages(out) == []
