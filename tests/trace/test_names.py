"""Finding servers: names, sockets and their modes, what killed servers left behind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools import trace
from iscsitools.probes.firing import Probes
from iscsitools.trace import names
from iscsitools.trace.feed import TraceServer
from iscsitools.trace.protocol import TraceError

from .support import Host


def test_sockets_are_for_the_owner_and_the_group(host: Host) -> None:
    assert stat.S_IMODE(host.watch.stat().st_mode) == 0o660
    assert stat.S_IMODE(host.control.stat().st_mode) == 0o600


def test_the_group_of_the_watch_socket(run_dir: Path) -> None:
    group = os.getgroups()[-1] if os.getgroups() else os.getgid()
    server = TraceServer(Probes(lambda: 0), "grouped", run_dir, group=group)
    assert server.paths.watch.stat().st_gid == group
    server.close()
    with pytest.raises(TraceError, match="no group named 'no-such-group'"):
        TraceServer(Probes(lambda: 0), "grouped", run_dir, group="no-such-group")
    assert list(run_dir.iterdir()) == []


def test_a_server_leaves_nothing_behind(host: Host, run_dir: Path) -> None:
    assert {path.name for path in run_dir.iterdir()} == {"test.watch", "test.control", "test.lock"}
    host.close()
    assert list(run_dir.iterdir()) == []


def test_two_servers_of_one_name(host: Host, run_dir: Path) -> None:
    with pytest.raises(names.NameInUse, match="'test' is already running"):
        TraceServer(Probes(lambda: 0), "test", run_dir)
    with trace.WatchedServer() as server:
        assert server.name == "test"


KILLED = """
import os, signal, sys
from pathlib import Path
from iscsitools.probes.firing import Probes
from iscsitools.trace.feed import TraceServer
TraceServer(Probes(lambda: 0), sys.argv[1], Path(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_servers_left_is_cleaned(run_dir: Path) -> None:
    for name in ("killed", "other"):
        subprocess.run([sys.executable, "-c", KILLED, name, str(run_dir)])
    assert len(list(run_dir.iterdir())) == 6 - 3  # the second start cleaned after the first one
    assert trace.servers() == []
    server = TraceServer(Probes(lambda: 0), "other", run_dir)
    assert {path.name for path in run_dir.iterdir()} == {"other.watch", "other.control", "other.lock"}
    server.close()


def test_a_running_server_is_not_cleaned_away(host: Host, run_dir: Path) -> None:
    server = TraceServer(Probes(lambda: 0), "second", run_dir)
    assert [entry.name for entry in trace.servers()] == ["second", "test"]
    server.close()


def test_choosing_among_servers(make_host: Callable[..., Host]) -> None:
    with pytest.raises(TraceError, match="no running server"):
        trace.attach()
    make_host(name="one")
    make_host(name="two")
    with pytest.raises(TraceError, match="choose one with --name: one, two"):
        trace.attach()
    with pytest.raises(TraceError, match=r"'three' \(running: one, two\)"):
        trace.attach(name="three")
    with trace.attach(name="two") as source:
        assert source.name == "two"


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", "-x", "x" * 65, "\n"])
def test_names_that_are_no_names(run_dir: Path, name: str) -> None:
    with pytest.raises(TraceError, match="no server name"):
        TraceServer(Probes(lambda: 0), name, run_dir)


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="too long"):
        names.paths("x", tmp_path / ("y" * 120))


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that others may write to could hold their sockets under our names."""
    monkeypatch.setattr(names, "SYSTEM_DIRECTORY", tmp_path / "missing" / "iscsitools")
    monkeypatch.setattr(names.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    directory = names.make_directory()
    assert directory == tmp_path / f"iscsitools-{os.getuid()}"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    directory.chmod(0o777)
    assert names.make_directory() == tmp_path / f"iscsitools-{os.getuid()}.1"
    for number in range(1, 9):
        directory.with_name(f"{directory.name}.{number}").mkdir(exist_ok=True)
        directory.with_name(f"{directory.name}.{number}").chmod(0o777)
    with pytest.raises(TraceError, match="only this user"):
        names.make_directory()


def test_an_old_server_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.watch"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        with subprocess.Popen(
            [sys.executable, "-c", "import sys; from iscsitools import trace; trace.attach(socket=sys.argv[1])", path],
            stderr=subprocess.PIPE,
        ) as process:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b'{"iscsitools-trace":99,"server":{"name":"old"}}\n')
                assert process.stderr is not None
                assert b"version 99" in process.stderr.read()
