"""A server under a service manager, which the test plays: its datagrams, its watchdog, its sockets."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.target import START_SECONDS, STOP_SECONDS

from iscsitools.initiator import Session
from iscsitools.server.service_manager import Notifier, inherited_portals

IQN = "iqn.2026-11.example:service"
AS_SYSTEMD = """
import os, sys
for place, number in enumerate(filter(None, sys.argv[1].split(",")), 3):
    os.dup2(int(number), place)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """Where a service sends its notices: a name in the file system, or an abstract one."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(START_SECONDS)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def next(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def until(self, name: str, value: str) -> dict[str, str]:
        """The first notice that says so; START_SECONDS of silence end the test."""
        while (notice := self.next()).get(name) != value:
            pass
        return notice


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@iscsitools-test-{os.getpid()}"
    made = Manager(address)
    with made.socket:
        yield made, address


@contextmanager
def serving(folder: Path, *sockets: socket.socket, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """``serve``, started as systemd does it: LISTEN_PID is its own, the sockets begin at descriptor 3."""
    serve = [sys.executable, "-m", "iscsitools", "serve", "--provider", "none", "--iqn", IQN, "--lun", "ram:1M"]
    numbers = ",".join(str(sock.fileno()) for sock in sockets)
    own = {"XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder), **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", AS_SYSTEMD, numbers, *serve, *([] if sockets else ["--portal", "127.0.0.1:0"])],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | own,
        pass_fds=[sock.fileno() for sock in sockets],
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def high(sock: socket.socket) -> socket.socket:
    """The same socket at a number that no move to 3 and up overwrites."""
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 90))


def address(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    line = next(line for line in process.stdout if "listens on" in line)
    host, _, port = line.split("listens on ")[1].strip().rpartition(":")
    return host, int(port)


def test_the_manager_is_told_of_readiness_sessions_and_the_end(manager: tuple[Manager, str], tmp_path: Path) -> None:
    told, path = manager
    with serving(tmp_path, NOTIFY_SOCKET=path, WATCHDOG_USEC="300000") as process:
        host, port = address(process)
        assert told.next() == {"READY": "1", "STATUS": f"1 target on {host}:{port}; 0 sessions"}
        assert told.next()["WATCHDOG"] == "1"
        with Session.connect((host, port), IQN):
            told.until("STATUS", f"1 target on {host}:{port}; 1 session")
        assert told.until("STATUS", f"1 target on {host}:{port}; 0 sessions")["WATCHDOG"] == "1"
        process.send_signal(signal.SIGTERM)
        told.until("STOPPING", "1")
        assert process.wait(STOP_SECONDS) == 0


def test_a_manager_that_is_gone_does_not_stop_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="30000") as process:
        with Session.connect(address(process), IQN) as session:
            assert session.read_capacity(0) == (2048, 512)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def test_the_variables_are_for_this_process_alone() -> None:
    own = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    own |= {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "HOME": "/"}
    assert Notifier(own).watchdog == 2.0
    assert inherited_portals(own) == {}
    assert own == {"HOME": "/"}
    assert Notifier({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid() + 1)}).watchdog == 0.0
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog == 0.0


def test_the_manager_s_sockets_are_the_portals(tmp_path: Path) -> None:
    first = high(socket.create_server(("127.0.0.1", 0)))
    second = high(socket.create_server(("::1", 0), family=socket.AF_INET6))
    with first, second:
        # Somebody connects before there is a server, which is what such sockets are for.
        early = socket.create_connection(first.getsockname())
        names = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "iscsitools.socket:group-6"}
        with early, serving(tmp_path, first, second, **names) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "listens on" in line)
            told = [f"127.0.0.1:{first.getsockname()[1]}", f"[::1]:{second.getsockname()[1]}"]
            assert line.split("listens on ")[1].strip() == ", ".join(told)
            for sock, group in ((first, "1"), (second, "6")):
                with Session.connect(sock.getsockname()[:2], IQN) as session:
                    assert session.agreed.answers["TargetPortalGroupTag"] == group
                    assert session.read_capacity(0) == (2048, 512)
            early.sendall(bytes(48))  # no login request: the server closes
            early.settimeout(START_SECONDS)
            while early.recv(100):
                pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0
        # They are the manager's, and still listen: the next server is started with them.
        socket.create_connection(first.getsockname()).close()


@pytest.mark.parametrize("kind", ["datagrams", "not listening", "unix", "not open"])
def test_a_socket_that_cannot_be_a_portal_is_one_line(kind: str, tmp_path: Path) -> None:
    sockets: list[socket.socket] = []
    if kind == "datagrams":
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    elif kind == "not listening":
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    elif kind == "unix":
        sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sockets[0].bind(str(tmp_path / "unix"))
        sockets[0].listen()
    moved = [high(sock) for sock in sockets]
    with serving(tmp_path, *moved, LISTEN_FDS="1", LISTEN_FDNAMES="odd") as process:
        output, _ = process.communicate(timeout=START_SECONDS)
    for sock in moved:
        sock.close()
    assert process.returncode == 1
    why = "the service manager's socket odd (descriptor 3) is no listening TCP socket"
    assert output.splitlines()[-1] == f"iscsitools: {why}"


def test_a_crash_says_where_it_was(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        address(process)
        process.send_signal(signal.SIGSEGV)
        output, _ = process.communicate(timeout=STOP_SECONDS)
    assert "Fatal Python error: Segmentation fault" in output
    assert "iscsitools/server/main.py" in output


def test_the_manager_follows_the_process_that_takes_over(manager: tuple[Manager, str], tmp_path: Path) -> None:
    made, address = manager
    with serving(tmp_path, NOTIFY_SOCKET=address, WATCHDOG_USEC="3000000") as process:
        made.until("READY", "1")
        process.send_signal(signal.SIGUSR2)
        while "MAINPID" not in (notice := made.next()):
            pass
        successor = int(notice["MAINPID"])
        try:
            assert process.wait(STOP_SECONDS) == 0
            assert successor != process.pid
            assert b"--takeover" in Path(f"/proc/{successor}/cmdline").read_bytes()
            made.until("READY", "1")
            made.until("WATCHDOG", "1")
        finally:
            os.kill(successor, signal.SIGTERM)
        made.until("STOPPING", "1")
