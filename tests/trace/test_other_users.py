"""Other users of the machine at the two sockets: processes of theirs, which only root can start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")

OWN, GROUP = 54321, 54322
CONNECT = """
import os, socket, sys
path, uid, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups[1:]])
os.setgid(int(groups[0]))
os.setuid(int(uid))  # after the imports: another user may not be able to read this Python
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(path)
    except OSError as error:
        print(type(error).__name__)
    else:
        print(s.makefile().readline())
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # as /run/iscsitools is
        running = Host(Path(name), group=GROUP)
        yield running
        running.close()


def greeted(path: Path, *groups: int) -> str:
    """How a process of another user in these groups is met: "server", "error", or the exception."""
    command = [sys.executable, "-c", CONNECT, str(path), str(OWN), *map(str, groups)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return next(key for key in json.loads(said) if key != "iscsitools-trace") if said.startswith("{") else said.strip()


def test_the_modes_of_the_files(host: Host) -> None:
    assert greeted(host.watch, GROUP) == "server"
    assert greeted(host.watch, OWN, OWN + 5, GROUP) == "server"
    assert greeted(host.watch, OWN) == "PermissionError"
    for groups in ((GROUP,), (OWN, GROUP), (OWN,)):
        assert greeted(host.control, *groups) == "PermissionError"


def test_the_server_looks_for_itself_whatever_the_modes(host: Host) -> None:
    for path in (host.watch, host.control):
        path.chmod(0o666)
    assert greeted(host.watch, OWN, GROUP) == "server"
    assert greeted(host.watch, OWN) == "error"
    for groups in ((GROUP,), (OWN, GROUP), (OWN,)):
        assert greeted(host.control, *groups) == "error"
    assert host.call(lambda: host.server.readers) <= 1
