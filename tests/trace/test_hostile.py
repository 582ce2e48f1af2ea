"""Readers that mean harm, or died: the server serves on, and has everything back afterwards."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools import trace
from iscsitools.trace import memory
from iscsitools.trace.client.live import RingTrace
from iscsitools.trace.protocol import HEADER, ReaderLimits, TraceError
from iscsitools.trace.record import SIZE

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


@pytest.fixture
def victim(make_host: Callable[..., Host]) -> Host:
    return make_host(limits=ReaderLimits(readers=8, ring_bytes=1 << 20, total_bytes=2 << 20, stall_seconds=0.05))


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


def test_the_memory_cannot_be_changed(victim: Host) -> None:
    reader = Raw(victim.watch)
    reader.attach()
    ring, position = reader.fds
    every = memory.SEAL_SHRINK | memory.SEAL_GROW | memory.SEAL_SEAL
    assert memory.seals_of(ring) == every | memory.SEAL_FUTURE_WRITE
    assert memory.seals_of(position) == every
    for fd in (ring, position):
        for size in (0, 1 << 30):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, 1033, 0x0008)
    with pytest.raises(PermissionError):
        os.pwrite(ring, b"scribble", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(ring, HEADER, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(PermissionError):
        os.fallocate(ring, 0, 1 << 30, 4096) if hasattr(os, "fallocate") else os.posix_fallocate(ring, 1 << 30, 4096)
    reader.close()
    still_serves(victim)


def test_a_ring_is_allocated_in_full() -> None:
    fd, mapping = memory.create_ring(1 << 20)
    assert os.fstat(fd).st_blocks * 512 >= 1 << 20
    mapping.close()
    os.close(fd)


@pytest.mark.parametrize("word", [1, 513, 1 << 40, (1 << 64) - 1])
def test_a_nonsense_position(victim: Host, word: int) -> None:
    """The writer never goes by a position outside what it has written; the reader only loses events."""
    files = open_files()
    reader = Raw(victim.watch)
    reader.attach()
    page = mmap.mmap(reader.fds[1], mmap.PAGESIZE)
    page[:8] = struct.pack("<Q", word)
    conn = connection()
    victim.call(lambda: [fire_read(victim.probes, conn) for _ in range(1000)])
    still_serves(victim)
    page.close()
    reader.close()
    all_back(victim, files)


def test_positions_that_change_all_the_time(victim: Host) -> None:
    reader = Raw(victim.watch)
    reader.attach()
    page = mmap.mmap(reader.fds[1], mmap.PAGESIZE)
    stop = threading.Event()

    def scribble() -> None:
        word = 0
        while not stop.is_set():
            word = (word * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
            page[:] = struct.pack("<QQ", word >> (word & 63), word) * 256

    thread = threading.Thread(target=scribble)
    thread.start()
    conn = connection()
    for _ in range(20):
        victim.call(lambda: [fire_read(victim.probes, conn) for _ in range(100)])
    stop.set()
    thread.join()
    still_serves(victim)
    page.close()
    reader.close()


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
    all_back_but_this = victim.call(lambda: victim.server.readers)
    assert all_back_but_this == 0
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


def test_the_sequence_number_catches_a_torn_record(victim: Host) -> None:
    """Records that are overwritten while they are copied are not handed out.

    The reader tells the server that it has read all, so that the server overwrites what is then being copied: in the
    middle of the copy, by way of the memory's slice.
    """
    conn = connection()
    with trace.attach(ring_size=512 * SIZE, mode="ring") as source:
        assert isinstance(source, RingTrace)
        victim.call(lambda: [fire_read(victim.probes, conn, 7) for _ in range(100)])
        ring = source._rings[0]
        whole = ring._records

        class Overtaken:
            def __getitem__(self, part: slice) -> bytes:
                half = (part.start + part.stop) // 2
                first = bytes(whole[part.start : half])
                ring._word[0] = 400
                victim.call(lambda: [fire_read(victim.probes, conn, 8) for _ in range(100)])
                return first + bytes(whole[half : part.stop])

        ring._records = Overtaken()  # type: ignore[assignment]
        with pytest.raises(TraceError, match="overwritten"):
            source.read_block(0)
        ring._records = whole


def test_a_record_that_is_being_written_is_not_read(victim: Host) -> None:
    """Numbers are spoiled before a record is overwritten: a lap later the old number is never seen as a new record."""
    conn = connection()
    with trace.attach(ring_size=512 * SIZE, mode="ring") as source:
        assert isinstance(source, RingTrace)
        for lap in range(3):
            victim.call(lambda: [fire_read(victim.probes, conn) for _ in range(127)])
            assert sum(len(source.read_block(1)) // SIZE for _ in range(2 if lap else 1)) == 508
            assert source.read_block(0) == b""


def test_numbers_are_spoiled_before_their_records_are_overwritten(victim: Host) -> None:
    conn = connection()
    with trace.attach(ring_size=512 * SIZE, mode="ring") as source:
        assert isinstance(source, RingTrace)
        victim.call(lambda: [fire_read(victim.probes, conn) for _ in range(128)])
        assert len(source.read_block(0)) == 512 * SIZE
        victim.call(lambda: fire_read(victim.probes, conn))
        numbers = source._rings[0]._words[::16].tolist()
    assert numbers == [513, 514, 515, 516, *[0] * 252, *range(257, 513)]


def test_a_fault_of_a_subscriber_detaches_it_and_its_reader(victim: Host) -> None:
    with trace.attach(ring_size=65536) as source:
        victim.call(lambda: victim.probes.pdu(6, connection(), 0, b"short"))
        assert source.read_block(10) == b""
        assert source.ended
    assert len(victim.failures) == 1
    victim.failures.clear()
    still_serves(victim)
