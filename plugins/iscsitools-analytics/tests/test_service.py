"""The command and its HTTP side, by a real server's load: what is answered, to whom, and what is refused."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from iscsitools.initiator import Session
from iscsitools.trace import WatchedServer
from page_lab import IQN, Analytics, Place, eventually
from support import alone


def since(analytics: Analytics, begin: int, question: str) -> list[Any]:
    """The columns of the seconds from ``begin`` on that have ended."""
    answer = analytics.ask("api/history", q=question, **{"from": begin, "to": int(time.time()) + 1}, columns=1000)
    assert answer["step"] == 1
    return [column for column in answer["columns"] if column]


def total(columns: list[Any]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for column in columns:
        for key, value in column.items():
            sums[key] = sums.get(key, 0) + value
    return sums


def attached(analytics: Analytics, *names: str) -> None:
    eventually(lambda: analytics.ask("api/about")["attached"] == list(names), f"attached to {names}")
    # Sums count from the next whole second on.
    eventually(lambda: analytics.ask("api/about")["since"] is not None, "a second of history")


def load(portal: tuple[str, int], reads: int, writes: int, blocks: int = 8, source: str = "127.0.0.1") -> None:
    with Session.connect(portal, IQN, source=(source, 0)) as session:
        session.read_capacity()
        for number in range(reads):
            session.read(number * blocks, blocks)
        for number in range(writes):
            session.write((1000 + number) * blocks, bytes(blocks * 512))
        session.logout()


def test_a_known_load_is_counted_exactly(place: Place) -> None:
    portal = place.target("0=ram:64M")
    analytics = place.analytics()
    attached(analytics, "disks")
    begin = int(time.time())
    load(portal, reads=31, writes=17)
    load(portal, reads=5, writes=0, blocks=16, source="127.0.0.2")

    def operations() -> dict[str, float]:
        return total(since(analytics, begin, "operations by:operation"))

    eventually(lambda: operations().get("read") == 36 and operations().get("write") == 17, "the operations")
    reading = "operation=read"
    assert total(since(analytics, begin, f"operations by:client {reading}")) == {"127.0.0.1": 31, "127.0.0.2": 5}
    assert total(since(analytics, begin, f"operations by:size {reading}")) == {"4 KiB": 31, "8 KiB": 5}
    assert total(since(analytics, begin, "bytes by:operation operation!=other")) == {
        "read": 31 * 4096 + 5 * 8192, "write": 17 * 4096,
    }  # fmt: skip
    assert total(since(analytics, begin, "logins by:client")) == {"127.0.0.1": 1, "127.0.0.2": 1}
    latencies = since(analytics, begin, f"latencies {reading}")
    assert sum(sum(column["c"][1::2]) for column in latencies) == 36
    places = since(analytics, begin, "places operation=write")
    assert sum(sum(column["c"][1::2]) for column in places) == 17
    depths = since(analytics, begin, f"depths {reading}")
    assert sum(sum(column["c"][1::2]) for column in depths) == 36


def test_errors_and_failed_logins_are_told_apart(place: Place) -> None:
    portal = place.target("0=ram:64M")
    analytics = place.analytics()
    attached(analytics, "disks")
    begin = int(time.time())
    with Session.connect(portal, IQN) as session:
        session.read_capacity()
        session.command(bytes([0x88, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]), read=512)
    with pytest.raises(Exception, match="0203"):
        Session.connect(portal, "iqn.2026-11.example:missing")
    out_of_range = "logical block address out of range"

    def said() -> tuple[bool, bool]:
        errors = total(since(analytics, begin, "errors"))
        logins = total(since(analytics, begin, "logins by:sense"))
        return any(out_of_range in key.lower() for key in errors), logins == {"logged in": 1, "login status 0203": 1}

    eventually(lambda: said() == (True, True), "the error and the failed login")


def connections(path: str) -> int:
    """How many are connected to a Unix socket: state 03 in the kernel's list, of those that have accepted."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return len([line for line in lines if line[5] == "03" and line[-1] == path])


def test_one_attachment_for_any_number_of_viewers(place: Place) -> None:
    place.target("0=ram:1M")
    analytics = place.analytics()
    attached(analytics, "disks")
    streams = [http.client.HTTPConnection("127.0.0.1", analytics.port, timeout=60) for _ in range(5)]
    for number, stream in enumerate(streams):
        stream.request("GET", f"/api/live?q=operations+by:client&q=latencies+client!={number}")
    answers = [stream.getresponse() for stream in streams]
    for answer in answers:
        assert answer.status == 200
        fields = [answer.readline(), answer.readline()]
        told = json.loads(fields[1].removeprefix(b"data: "))
        assert told["attached"] == ["disks"]
        assert set(told["columns"]) >= {"operations by:client"}
    # One reads the sums, and one waits for logins; each look for servers is one more, for a moment.
    path = str(next((place.folder / "run" / "iscsitools").glob("*.watch")))
    eventually(lambda: connections(path) == 2, "two connections to the watch socket")
    for each in (*answers, *streams):
        each.close()


def test_a_server_that_comes_back_is_attached_again(place: Place) -> None:
    analytics = place.analytics()
    assert analytics.ask("api/about")["attached"] == []
    place.target("0=ram:1M")
    attached(analytics, "disks")
    place.last.end(signal.SIGKILL)
    eventually(lambda: analytics.ask("api/about")["attached"] == [], "detached")
    portal = place.target("0=ram:64M")
    attached(analytics, "disks")
    begin = int(time.time())
    time.sleep(1.1)  # the second in which it attached is not whole
    load(portal, 3, 0)
    eventually(lambda: total(since(analytics, begin, "operations by:operation")).get("read") == 3, "its reads")


def test_nothing_can_be_changed_and_no_other_page_may_ask(place: Place) -> None:
    analytics = place.analytics()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert analytics.status("/api/about", method) == 405
    assert analytics.status("/api/about") == 200
    assert analytics.status("/api/about", Host="evil.example") == 421
    assert analytics.status("/api/about", Sec_Fetch_Site="cross-site") == 403
    assert analytics.status("/", Sec_Fetch_Site="cross-site") == 200  # a link
    assert analytics.status("/api/enter", "POST", b"x") == 401  # there is no token
    assert analytics.status("/page/../command.py") == 404
    link = http.client.HTTPConnection("127.0.0.1", analytics.port, timeout=60)
    link.request("GET", "/")
    answer = link.getresponse()
    headers = answer.headers
    answer.close()
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    link.close()


@pytest.mark.parametrize(
    "path",
    ["/api/history", "/api/history?q=nonsense&from=0&to=10&columns=3",
     "/api/history?q=operations&from=5&to=5&columns=1",
     "/api/history?q=operations&from=0&to=1e99&columns=1", "/api/history?q=operations&from=nan&to=5&columns=1",
     "/api/live?q=nonsense", "/api/commands?q=latencies&from=0&to=1&low=0&high=1"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(place: Place, path: str) -> None:
    assert place.analytics().status(path) == 400


def test_a_token_is_needed_where_others_can_connect(place: Place) -> None:
    analytics = place.analytics("--token", "token")
    token = (place.folder / "token").read_text().strip()
    assert (place.folder / "token").stat().st_mode & 0o777 == 0o600
    assert analytics.where.endswith(f"#token={token}")
    assert analytics.status("/api/about") == 401
    assert analytics.status("/api/about", Cookie="iscsitools-analytics=wrong") == 401
    assert analytics.status("/") == 200  # which tells nothing
    assert analytics.status("/api/enter", "POST", b"wrong") == 401
    assert analytics.status("/api/enter", "POST", token.encode()) == 204
    assert analytics.status("/api/about", Cookie=f"iscsitools-analytics={token}") == 200


def refused(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder / "run"), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "iscsitools", "analytics", "--history", "other.db", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)
    assert done.returncode in (1, 2)
    return done.stderr


def test_what_cannot_be_is_said_in_one_line(place: Place) -> None:
    assert "give --token FILE or --clients FILE" in refused(place.folder, "--listen", "0.0.0.0:0")
    assert "has to be ADDRESS:PORT" in refused(place.folder, "--listen", "here")
    assert "need --certificate" in refused(place.folder, "--key", "k")
    (place.folder / "short").write_text("secret")
    assert "at least 16" in refused(place.folder, "--token", "short")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(place.folder, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert "already in use" in said
    assert refused(place.folder, "--read", "missing").count("\n") == 1
    assert refused(place.folder, "--history", "no/a.db") == "iscsitools: no/a.db: No such file or directory\n"
    assert not (place.folder / "no").exists()


@pytest.mark.parametrize(
    ("named", "arguments", "line"),
    [
        ("", (), "no server runs: one that starts is attached to"),
        ("disks", (), "no server is named 'disks': one that starts is attached to"),
        ("disks", ("other",), "no server is named 'other': one that starts is attached to"),
    ],
)
def test_whom_it_waits_for_is_said(tmp_path: Path, named: str, arguments: tuple[str, ...], line: str) -> None:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path), "ISCSITOOLS_NAME": named}
    command = [*alone.COMMAND, "analytics", "--listen", "127.0.0.1:0", "--history", "a.db"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"iscsitools: {line}\n"
        process.terminate()


def test_seconds_that_were_told_at_once_are_told_apart(place: Place) -> None:
    portal = place.target("0=ram:64M")
    analytics = place.analytics()
    attached(analytics, "disks")
    load(portal, 1, 0)
    begin = int(time.time())
    analytics.process.send_signal(signal.SIGSTOP)
    load(portal, 60, 0)
    time.sleep(3.1)
    analytics.process.send_signal(signal.SIGCONT)
    eventually(lambda: total(since(analytics, begin - 5, "operations by:operation")).get("read") == 61, "the reads")
    span = {"from": begin + 1, "to": begin + 3}
    columns = analytics.ask("api/history", q="operations by:operation", **span, columns=10)["columns"]
    assert all(0 < column["read"] < 60 for column in columns), "each has its share"


def test_a_kill_keeps_the_history(place: Place) -> None:
    portal = place.target("0=ram:64M")
    analytics = place.analytics()
    attached(analytics, "disks")
    begin = int(time.time())
    load(portal, 9, 0)
    eventually(lambda: total(since(analytics, begin, "operations by:operation")).get("read") == 9, "the reads")
    analytics.end(signal.SIGKILL)
    again = place.analytics()
    assert total(since(again, begin, "operations by:operation"))["read"] == 9


def test_a_recording_is_shown_as_it_was(place: Place) -> None:
    portal = place.target("0=ram:64M")
    environment = os.environ | {"XDG_RUNTIME_DIR": str(place.folder / "run"), "TMPDIR": str(place.folder)}
    command = [sys.executable, "-m", "iscsitools", "record", "--name", "disks", "-o", "rec"]
    recorder = subprocess.Popen(command, cwd=place.folder, env=environment, stderr=subprocess.PIPE, text=True)
    with WatchedServer(socket=next((place.folder / "run" / "iscsitools").glob("*.watch"))) as server:
        eventually(lambda: "data-send" in server.probes(), "the recorder")
    load(portal, 12, 4)
    recorder.send_signal(signal.SIGINT)
    recorder.communicate(timeout=60)
    analytics = place.analytics("--read", "rec")
    about = analytics.ask("api/about")
    span = {"from": int(about["now"]) - 60, "to": int(about["now"]) + 1}
    answer = analytics.ask("api/history", q="operations by:operation", **span, columns=100)
    counts = total([column for column in answer["columns"] if column])
    assert (counts["read"], counts["write"]) == (12, 4)
    found = analytics.ask("api/commands", q="latencies operation=read", **span, low=0, high=1 << 40)
    assert found["found"] == 12
    first = found["commands"][0]
    assert first["command"] == "READ(16)"
    assert (first["client"], first["lun"], first["blocks"], first["result"]) == ("127.0.0.1", f"{IQN}/0", 8, "GOOD")
    assert next(label for _, label, _ in first["events"]) == "scsi-command"


def test_the_commands_of_the_last_minutes_are_kept_when_asked_for(place: Place) -> None:
    portal = place.target("0=ram:64M")
    analytics = place.analytics("--commands", "2")
    attached(analytics, "disks")
    begin = int(time.time())
    load(portal, 7, 3)
    span = {"from": begin, "to": begin + 60, "low": 0, "high": 1 << 40}
    eventually(lambda: analytics.ask("api/commands", q="latencies", **span)["found"] >= 10, "the commands")
    writes = analytics.ask("api/commands", q="places operation=write", **{**span, "low": 8000, "high": 8008})
    assert [(one["lba"], one["blocks"]) for one in writes["commands"]] == [(8000, 8)]
