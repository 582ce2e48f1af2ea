"""Recorded files: written by the command, read back the same, cut short, and not a recording at all."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import alone

from iscsitools import trace
from iscsitools.probes.table import Probe
from iscsitools.trace.client.recording import Recorder
from iscsitools.trace.protocol import encode

from .support import Host, bhs, connection, fire_read, fire_write


@pytest.fixture
def timeless(make_host: Callable[..., Host]) -> Host:
    """A server whose clock stands still: every reader reads the clock for itself."""
    return make_host(clock=lambda: 1_000_000)


def record_some(host: Host) -> tuple[bytes, list[trace.Event]]:
    """A recording of 12 events on two connections, and the events."""
    out = io.BytesIO()
    with trace.attach() as source, trace.attach() as other:
        recorder = Recorder(out, source.server, {})
        host.call(lambda: fire_read(host.probes, connection(1)))
        host.call(lambda: host.server.connection_closed(1))
        host.call(lambda: fire_write(host.probes, connection(2)))
        host.close()
        while not source.ended:
            recorder.write(source, source.read_block())
        recorder.finish(source.drops)
        events = list(other)
    return out.getvalue(), events


def test_a_file_gives_the_same_events(timeless: Host, tmp_path: Path) -> None:
    content, events = record_some(timeless)
    (tmp_path / "trace").write_bytes(content)
    with trace.open_file(tmp_path / "trace") as replayed:
        assert list(replayed) == events
    assert len(events) == 12
    assert replayed.note == ""
    assert replayed.drops == 0


def test_a_file_tells_a_connections_end_after_its_last_event(host: Host, tmp_path: Path) -> None:
    content, _ = record_some(host)
    (tmp_path / "trace").write_bytes(content)
    seen: list[int] = []
    with trace.open_file(tmp_path / "trace") as replayed:
        closed: list[tuple[int, int]] = []
        while not replayed.ended:
            seen += [event.conn.ident for event in replayed.poll()]
            closed += [(ident, seen.count(ident)) for ident in replayed.take_closed()]
    assert closed == [(1, 4)]
    assert seen == [1] * 4 + [2] * 8


def test_a_file_cut_anywhere_is_read_to_its_last_whole_record(timeless: Host, tmp_path: Path) -> None:
    content, events = record_some(timeless)
    header = content.index(b"\n") + 1
    before = -1
    for length in range(header, len(content), 37):
        (tmp_path / "cut").write_bytes(content[:length])
        with trace.open_file(tmp_path / "cut") as replayed:
            read = list(replayed)
        assert read == events[: len(read)]
        assert len(read) >= before
        before = len(read)
        assert "not finished" in replayed.note
    assert before == 12


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a recorded trace"),
        (b"hello\n", "not a recorded trace"),
        (b"[1]\n", "not a recorded trace"),
        (b'{"a":1}\n', "not a recorded trace"),
        (b'{"iscsitools-trace":2}\n', "version 2"),
        (bytes(100000), "not a recorded trace"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(trace.TraceError, match=words) as caught:
        trace.open_file(tmp_path / "other")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(trace.TraceError, match="No such file"):
        trace.open_file(tmp_path / "missing")


STRINGS = dict.fromkeys(("local", "remote", "protocol", "target", "initiator", "isid", "tsih", "transport"), "x")


@pytest.mark.parametrize(
    "damage",
    [
        {"connection": 5},
        {"connection": {}},
        {"connection": {**STRINGS, "ident": "1", "generation": 0}},
        {"connection": {**STRINGS, "ident": 1, "generation": 0, "remote": 7}},
        {"closed": "x"},
        {"closed": 1, "after": -1},
        {"drops": "many"},
        {"drops": True},
    ],
)
def test_a_damaged_message_is_named(host: Host, tmp_path: Path, damage: dict[str, object]) -> None:
    content, _ = record_some(host)
    place = content.index(b'{"connection"')
    (tmp_path / "bad").write_bytes(content[:place] + encode(damage) + content[place:])
    with trace.open_file(tmp_path / "bad") as replayed, pytest.raises(trace.TraceError, match=r"bad: not a trace: a "):
        list(replayed)


@pytest.mark.parametrize(("place", "value"), [(24, 77), (28, 77), (32, 20), (32, 1 << 31), (40, 0)])
def test_a_damaged_record_is_named(host: Host, tmp_path: Path, place: int, value: int) -> None:
    content, _ = record_some(host)
    begin = content.index(b'{"block":') + len(b'{"block":4}\n') + place
    (tmp_path / "bad").write_bytes(content[:begin] + value.to_bytes(4, "little") + content[begin + 4 :])
    with (
        trace.open_file(tmp_path / "bad") as replayed,
        pytest.raises(trace.TraceError, match="bad: not a trace: a re"),
    ):
        list(replayed)


def test_a_block_of_impossible_size_is_refused(host: Host, tmp_path: Path) -> None:
    content, _ = record_some(host)
    header = content[: content.index(b"\n") + 1]
    (tmp_path / "bad").write_bytes(header + b'{"block":-1}\n')
    with trace.open_file(tmp_path / "bad") as replayed, pytest.raises(trace.TraceError, match="impossible size"):
        list(replayed)


def test_the_command_records_until_interrupted(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    with subprocess.Popen(
        [*alone.COMMAND, "record", "-o", str(file), "--client", "192.0.2.7"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "Recording to" in process.stderr.readline()
        other = connection(2, "192.0.2.8:50000")
        host.call(lambda: [fire_read(host.probes, conn, i) for i in range(503) for conn in (connection(), other)])
        host.call(lambda: host.probes.pdu(Probe.LOGOUT_COMMAND, connection(), 0, bhs(0x06)))
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 0
    assert rest == "iscsitools: 2013 events\n"
    with trace.open_file(file) as replayed:
        assert sum(event.probe is Probe.DATA_SEND for event in replayed) == 503
    assert replayed.note == ""
    host.wait_until(lambda: host.probes.mask == 0)


def test_the_command_ends_with_the_server(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    with subprocess.Popen(
        [*alone.COMMAND, "record", "-o", str(file), "--probe", "nop-send"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        host.call(lambda: host.probes.pdu(Probe.NOP_SEND, connection(), 0, bhs(0x20)))
        host.close()
        assert process.stderr.read() == "iscsitools: the server is gone\niscsitools: 1 events\n"
    assert process.returncode == 0


def test_the_command_ends_quietly_with_the_reader_of_its_output(host: Host) -> None:
    with subprocess.Popen(
        [*alone.COMMAND, "record", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()
        process.stdout.close()
        host.call(lambda: [fire_read(host.probes, connection(), n) for n in range(5000)])
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["-o", "trace"], 1, "no running server"),
        (["-o", "trace", "--probe", "nonsense"], 2, "no probe is named 'nonsense'"),
        (["-o", "trace", "--socket", "/nonexistent/socket"], 1, "No such file"),
        ([], 2, "--output"),
    ],
)
def test_the_commands_errors(run_dir: Path, tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    done = subprocess.run([*alone.COMMAND, "record", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
