"""Readers without manners, and what has to hold of the server after them."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from iscsitools import trace

from .support import Host, connection, fire_read


class Raw:
    """A reader without manners: it sends what it likes, and reads only when told to."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(os.fspath(path))
        self.file = self.socket.makefile("rb")
        self.greeting = json.loads(self.file.readline())
        self.fds: list[int] = []

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> dict[str, object]:
        """The next answer; {} when the server hung up."""
        try:
            return json.loads(self.file.readline() or b"{}")
        except ConnectionError:
            return {}

    def attach(self, records: int = 512) -> None:
        """Attach a ring and keep its descriptors."""
        self.send(json.dumps({"request": "attach", "mode": "ring", "records": records}).encode() + b"\n")
        data, fds, _, _ = socket.recv_fds(self.socket, 65536, 2)
        while data.count(b"\n") < 2:
            data += self.socket.recv(65536)
        self.fds = list(fds)
        assert b'"answer":"attach"' in data

    def flood(self, data: bytes) -> None:
        """Send up to 64 MB, without waiting for room."""
        self.socket.setblocking(False)
        for _ in range((64 << 20) // len(data)):
            self.socket.send(data)

    def close(self) -> None:
        self.file.close()
        self.socket.close()
        for fd in self.fds:
            os.close(fd)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def still_serves(host: Host) -> None:
    """A well-behaved reader gets its events, and nothing failed in the server."""
    with trace.attach(ring_size=65536) as source:
        host.call(lambda: fire_read(host.probes, connection(999)))
        assert [event.conn.ident for event in source.poll(60)] == [999] * 4
    assert host.failures == []


def all_back(host: Host, files: int) -> None:
    """No reader, no memory, no subscriber, no descriptor is left."""
    host.wait_until(lambda: host.server.readers == 0)
    assert host.call(lambda: (host.server.memory, host.probes.mask)) == (0, 0)
    assert open_files() == files
    assert "iscsitools-ring" not in Path("/proc/self/maps").read_text()
