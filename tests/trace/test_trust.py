"""Readers look whom they talk to, and servers who asks, on every system."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iscsitools import trace
from iscsitools.probes.firing import Probes
from iscsitools.trace import names
from iscsitools.trace.feed.service import TraceServer

from .support import Host

GREETING = {
    "iscsitools-trace": 1,
    "server": {"name": "evil", "pid": 1, "version": "x", "monotonic": 1, "realtime": 1},
}


@contextmanager
def impostor(path: Path, behave: Callable[[socket.socket], None], greeting: Any = GREETING) -> Iterator[None]:
    """A server of one connection that does as it likes behind its greeting."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def run() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(json.dumps(greeting).encode() + b"\n")
                try:
                    peer.recv(4096)
                    behave(peer)
                    peer.recv(4096)
                except OSError:
                    return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            path.unlink()


def says(*messages: Any) -> Callable[[socket.socket], None]:
    return lambda peer: peer.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))


def ring(seals: bool, size: int, records: int) -> Callable[[socket.socket], None]:
    """An answer to attach with two memfds, of this size and with or without seals."""

    def behave(peer: socket.socket) -> None:
        fds = [os.memfd_create("x", os.MFD_ALLOW_SEALING) for _ in range(2)]
        for fd, length in zip(fds, (size, 4096), strict=True):
            os.ftruncate(fd, length)
            if seals:
                import fcntl

                fcntl.fcntl(fd, 1033, 0x0002 | 0x0004)
        socket.send_fds(peer, [json.dumps({"ring": records}).encode() + b"\n"], fds)
        says({"answer": "attach", "mode": "ring", "records": records})(peer)
        for fd in fds:
            os.close(fd)

    return behave


RECORDS = 65536
WHOLE = 4096 + 128 * RECORDS


@pytest.mark.parametrize(
    ("behave", "match"),
    [
        (ring(False, WHOLE, RECORDS), "not sealed"),
        (ring(True, 8192, RECORDS), "8192 bytes"),
        (ring(True, 8192, 1 << 40), "makes no sense"),
        (says({"answer": "attach", "mode": "ring", "records": RECORDS}), "makes no sense"),
        (says({"answer": "attach"}), "makes no sense"),
        (says([1, 2]), "not a trace"),
        (lambda peer: peer.sendall(b'{"x":"' + b"a" * 60000 + b'"}\n' * 1), "does not answer|closed"),
    ],
)
def test_a_made_up_ring_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behave: Callable[[socket.socket], None], match: str
) -> None:
    monkeypatch.setattr("iscsitools.trace.client.connection._ANSWER_SECONDS", 0.5)
    path = tmp_path / "evil.watch"
    with impostor(path, behave), pytest.raises(trace.TraceError, match=match):
        trace.attach(socket=path)


def test_messages_without_end_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iscsitools.trace.client.connection._MOST_UNREAD", 1 << 20)
    path = tmp_path / "evil.watch"
    line = b'{"x":"' + b"a" * 60000 + b'"}\n'

    def flood(peer: socket.socket) -> None:
        for _ in range(1000):
            peer.sendall(line)

    with impostor(path, flood), pytest.raises(trace.TraceError, match="more than it was asked"):
        trace.attach(socket=path)


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        ("sessions", {"answer": "sessions", "sessions": 5}),
        ("sessions", {"answer": "sessions", "sessions": [{"id": "1", "target": ["x"]}]}),
        ("sessions", {"answer": "sessions"}),
        ("status", {"answer": "status", "status": 7}),
        ("status", {"answer": "status", "status": {"in_flight": [[1]]}}),
        ("status", {"answer": "status", "status": {"cpu": "x"}}),
        ("probes", {"answer": "probes", "enabled": 3}),
    ],
)
def test_an_answer_of_another_kind_is_one_line(tmp_path: Path, ask: str, answer: Any) -> None:
    path = tmp_path / "evil.watch"
    with (
        impostor(path, says(answer)),
        trace.WatchedServer(socket=path) as server,
        pytest.raises(trace.TraceError) as caught,
    ):
        getattr(server, ask)()
    assert "\n" not in str(caught.value)


def test_sums_of_another_kind_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "evil.watch"
    answers = says({"answer": "aggregate"}, {"answer": "snapshot", "snapshot": {"commands": [1]}, "status": {}})
    with impostor(path, answers), trace.Sums(socket=path) as sums, pytest.raises(trace.TraceError, match="no sense"):
        sums.snapshot()


@pytest.mark.parametrize("greeting", [{"iscsitools-trace": 1}, {"iscsitools-trace": 1, "server": {"name": 5}}])
def test_a_greeting_without_its_fields_is_one_line(tmp_path: Path, greeting: Any) -> None:
    path = tmp_path / "evil.watch"
    with impostor(path, lambda peer: None, greeting), pytest.raises(trace.TraceError, match="makes no sense"):
        trace.WatchedServer(socket=path)


# -- whose directory, whose socket


def test_a_squatted_directory_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody made /tmp/iscsitools-UID first: a server goes beside it, and readers find it there, not the squatter."""
    monkeypatch.setattr(names, "SYSTEM_DIRECTORY", tmp_path / "missing" / "run")
    monkeypatch.setattr(names, "tempfile", SimpleNamespace(gettempdir=lambda: str(tmp_path)))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    squatted = tmp_path / f"iscsitools-{os.getuid()}"
    squatted.mkdir(mode=0o777)
    squatted.chmod(0o777)
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(os.fspath(squatted / "evil.watch"))
        trap.listen()
        server = TraceServer(Probes(lambda: 0), "mine")
        assert server.paths.watch.parent == squatted.with_name(f"{squatted.name}.1")
        assert [entry.name for entry in trace.servers()] == ["mine"]
        server.close()
        with pytest.raises(trace.TraceError, match=f"{squatted} \\(passed by: somebody else owns it"):
            trace.attach()


@pytest.mark.parametrize(
    ("owner", "mode", "system", "trusted"),
    [
        ("me", 0o700, False, True), ("root", 0o755, False, True), ("other", 0o700, False, False),
        ("other", 0o755, True, True), ("other", 0o777, True, False), ("me", 0o720, False, False),
    ],
)  # fmt: skip
def test_whose_directory_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, mode: int, system: bool, trusted: bool
) -> None:
    if system:
        monkeypatch.setattr(names, "SYSTEM_DIRECTORY", tmp_path)
    uid = {"me": os.getuid(), "root": 0, "other": 54321}[owner]
    found = SimpleNamespace(st_mode=0o040000 | mode, st_uid=uid)
    monkeypatch.setattr(Path, "lstat", lambda self: found)
    users = names.trusted_users(tmp_path)
    assert bool(users) is trusted
    assert not trusted or {0, os.getuid()} <= users
    assert (54321 in users) is (trusted and owner == "other")


# -- a folder that goes away


def test_sockets_are_made_anew_when_their_folder_is_removed(make_host: Callable[..., Host], run_dir: Path) -> None:
    host = make_host()
    with trace.WatchedServer(socket=host.watch) as before:
        assert host.call(host.server.look_after) == ""
        shutil.rmtree(host.watch.parent)
        with pytest.raises(trace.TraceError):
            trace.WatchedServer(socket=host.watch)
        host.watch.parent.mkdir(mode=0o700)
        line = host.call(host.server.look_after)
        assert "was removed" in line
        assert str(host.server.paths.watch) in line
        trace.WatchedServer(socket=host.server.paths.watch).close()
        assert before.probes() == []  # who was connected stays
        assert host.call(host.server.look_after) == ""


def test_it_is_said_once_when_they_cannot_be_made_anew(make_host: Callable[..., Host], tmp_path: Path) -> None:
    host = make_host()
    shutil.rmtree(host.watch.parent)
    said = [host.call(host.server.look_after) for _ in range(3)]
    assert "nobody can watch" in said[0]
    assert said[1:] == ["", ""]
    host.watch.parent.mkdir(mode=0o700)
    assert "now" in host.call(host.server.look_after)


# -- what is written


def test_a_recording_is_nobody_elses_business(host: Host, tmp_path: Path) -> None:
    from support.alone import COMMAND

    file = tmp_path / "a.trace"
    command = f"umask 000; exec {' '.join(COMMAND)} record -o {file} 0.2"
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert file.stat().st_mode & 0o777 == 0o600
