"""Readers that mean harm, or died: the server serves on, and has everything back afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from iscsitools import trace
from iscsitools.trace.protocol import ReaderLimits, TraceError

from .hostile import Raw, all_back, open_files, still_serves
from .support import Host, connection, fire_read


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"\xff\xfe\x00\n",
        b"[" * 10000 + b"\n",
        b'{"request":' + b"9" * 5000 + b"}\n",
        b"x" * 20000,
    ],
)
def test_garbage_ends_the_conversation(victim: Host, garbage: bytes) -> None:
    files = open_files()
    reader = Raw(victim.watch)
    reader.send(garbage)
    assert "error" in reader.line()
    assert reader.line() == {}
    reader.close()
    still_serves(victim)
    all_back(victim, files)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"request": None},
        {"request": ["attach"]},
        {"request": "nonsense"},
        {"request": "attach"},
        {"request": "attach", "mode": "ring", "records": 500},
        {"request": "attach", "mode": "ring", "records": -512},
        {"request": "attach", "mode": "ring", "records": 1 << 62},
        {"request": "attach", "mode": "ring", "records": 16384},
        {"request": "attach", "mode": "ring", "records": 512, "probes": ["nonsense"]},
        {"request": "attach", "mode": "ring", "records": 512, "probes": []},
        {"request": "attach", "mode": "ring", "records": 512, "probes": [[]]},
        {"request": "attach", "mode": "ring", "records": 512, "lun": "0"},
        {"request": "attach", "mode": "ring", "records": 512, "lun": -1},
        {"request": "aggregate", "commands": True, "lun": -1},
        {"request": "aggregate", "commands": True, "lun": 1 << 64},
        {"request": "attach", "mode": "ring", "records": 512, "client": 7},
        {"request": "aggregate", "commands": 1},
        {"request": "aggregate", "commands": False},
        {"request": "snapshot"},
        {"request": "drop", "session": "1"},
        {"request": "shutdown"},
    ],
)
def test_bad_requests_get_an_error_each(victim: Host, request_: dict[str, object]) -> None:
    reader = Raw(victim.watch)
    for _ in range(2):
        reader.send(json.dumps(request_).encode() + b"\n")
        assert list(reader.line()) == ["error"]
    reader.close()
    still_serves(victim)


def test_one_attachment_for_each_conversation(victim: Host) -> None:
    reader = Raw(victim.watch)
    reader.attach()
    for request in (b'{"request":"attach","mode":"ring","records":512}\n', b'{"request":"aggregate"}\n'):
        reader.send(request)
        assert "attached already" in str(reader.line()["error"])
    reader.close()


def test_a_flood_of_requests_waits_its_turn(make_host: Callable[..., Host]) -> None:
    """Over the allowed rate requests stay in the socket, so that the sender is blocked and not the server."""
    host = make_host(limits=ReaderLimits(units_per_second=5))
    reader = Raw(host.watch)
    with pytest.raises(BlockingIOError):
        reader.flood(b'{"request":"probes"}\n' * 100)
    still_serves(host)
    reader.close()
    host.wait_until(lambda: host.server.readers == 0)


def test_a_reader_that_never_reads_its_answers(victim: Host) -> None:
    files = open_files()
    reader = Raw(victim.watch)
    with pytest.raises((BlockingIOError, BrokenPipeError)):
        reader.flood(b'{"request":"nonsense"}\n' * 50)
    still_serves(victim)
    reader.close()
    all_back(victim, files)


def test_a_reader_that_leaves_its_socket_full_is_let_go(victim: Host) -> None:
    """The strings of ever new connections fill the socket of a reader with a ring: it is detached."""
    files = open_files()
    reader = Raw(victim.watch)
    reader.attach()

    def connect_many() -> None:
        for ident in range(1, 20000):
            fire_read(victim.probes, connection(ident))

    victim.call(connect_many)
    victim.wait_until(lambda: victim.server.readers == 0)  # after the event that it is noticed in
    reader.close()
    still_serves(victim)
    all_back(victim, files)


def test_a_slow_reader_over_the_socket_is_let_go(victim: Host) -> None:
    files = open_files()
    reader = Raw(victim.watch)
    reader.send(b'{"request":"attach","mode":"socket","records":8192}\n')
    assert reader.line()["answer"] == "attach"
    conn = connection()
    victim.call(lambda: [fire_read(victim.probes, conn) for _ in range(4000)])
    victim.wait_until(lambda: victim.server.readers == 0)
    reader.close()
    all_back(victim, files)


def test_limits(victim: Host) -> None:
    files = open_files()
    one = trace.attach(ring_size=1 << 20)
    with pytest.raises(TraceError, match="together"):
        trace.attach(ring_size=1 << 20)
    with pytest.raises(TraceError, match="larger than the limit"):
        trace.attach(ring_size=2 << 20)
    with pytest.raises(TraceError, match="larger than the limit"):
        trace.attach(ring_size=2 << 20, mode="socket")
    others = [trace.WatchedServer() for _ in range(6)]
    last = Raw(victim.watch)
    with pytest.raises(TraceError, match="limit of 8 readers"):
        trace.attach()
    for reader in (one, *others, last):
        reader.close()
    all_back(victim, files)
    still_serves(victim)


DIES = """
import os, signal, sys
from iscsitools import trace
source = trace.attach("test", ring_size=1 << 19, mode=sys.argv[1])
print("attached", flush=True)
os.kill(os.getpid(), signal.SIGSTOP if sys.argv[2] == "stalls" else signal.SIGKILL)
"""


@pytest.mark.parametrize("mode", ["ring", "socket"])
@pytest.mark.parametrize("way", ["stalls", "dies"])
def test_a_process_that_stalls_or_dies(victim: Host, mode: str, way: str) -> None:
    files = open_files()
    conn = connection()
    with subprocess.Popen([sys.executable, "-c", DIES, mode, way], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"attached\n"
        if way == "dies":
            process.wait()
        for _ in range(50):
            victim.call(lambda: [fire_read(victim.probes, conn) for _ in range(200)])
        still_serves(victim)
        process.kill()
    all_back(victim, files)


def test_a_fault_of_a_subscriber_detaches_it_and_its_reader(victim: Host) -> None:
    with trace.attach(ring_size=65536) as source:
        victim.call(lambda: victim.probes.pdu(6, connection(), 0, b"short"))
        assert source.read_block(10) == b""
        assert source.ended
    assert len(victim.failures) == 1
    victim.failures.clear()
    still_serves(victim)
