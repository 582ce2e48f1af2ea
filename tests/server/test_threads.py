"""A server with data threads, over sockets: who serves whom, and what all of them must not do any more."""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.native import needs_data_path

from iscsitools.initiator import Session
from iscsitools.initiator.tasks import checked
from iscsitools.probes.firing import SCSI_COMMAND
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.scsi.core.gate import READ_BYTES, READS, WRITES, WRITTEN_BYTES
from iscsitools.wire.scsi import ManagementFunction

from .harness import TEST_UNIT_READY, Running, eventually, make_server, one_target, running
from .lending import ASKED, BLOCKS, MORE, Load, lent, on_loop, read_until_lent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
UNASKED = {"ImmediateData": "Yes", "InitialR2T": "No", "FirstBurstLength": "1024", "MaxBurstLength": "1024"}
REGISTER, RESERVE, RELEASE = 0, 1, 2
WRITE_EXCLUSIVE = 1
CONTROL_PAGE = 0x0A
LONGEST = 64 << 10
"""Bytes of a READ that waits for the disk and is no task."""


@pytest.fixture(params=["ram", "file"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    needs_data_path()
    return "ram:16M" if request.param == "ram" else f"file:{tmp_path}/disk,size=16M"


def persistent_out(session: Session, action: int, key: int, new: int = 0) -> None:
    data = struct.pack(">QQ", key, new) + bytes(8)
    checked(session.command(bytes([0x5F, action, WRITE_EXCLUSIVE]) + bytes(5) + b"\x18\0", write=data))


def write_protect(session: Session, on: bool) -> None:
    """SWP of the Control mode page (SPC-4 7.5.8)."""
    page = bytearray(checked(session.command(bytes([0x1A, 0x08, CONTROL_PAGE, 0, 0xFF, 0]), read=255)).data)
    page[:4] = bytes(4)
    page[8] = page[8] & ~8 | 8 * on
    checked(session.command(bytes([0x15, 0x10, 0, 0, len(page), 0]), write=bytes(page)))


@pytest.mark.parametrize("keys", [None, ASKED, UNASKED], ids=["immediate", "asked", "unasked"])
def test_both_threads_serve_and_all_agrees(tmp_path: Path, disk: str, keys: dict[str, str] | None) -> None:
    with running(tmp_path, one_target(disk, more=MORE)) as server:
        load = Load(server, 4, keys)
        threads = server.server.connections.threads
        assert threads is not None
        eventually(lambda: [thread.guests for thread in threads.threads] == [2, 2], "two connections in each")
        spent = [thread.cpu for thread in threads.threads]
        load.goes_on(500)
        assert all(thread.cpu > before for thread, before in zip(threads.threads, spent, strict=True))
        load.end()
        assert sum(load.refused) == 0
        lent(server, 0)
        words = server.server.assembly.units[0][1].counts
        assert words[READS] + words[WRITES] == sum(load.done)
        assert words[READ_BYTES] + words[WRITTEN_BYTES] == 4096 * sum(load.done)


def test_events_are_all_there_once_somebody_looks(tmp_path: Path, disk: str) -> None:
    class Count:
        commands = 0

        def on_pdu(
            self, probe: int, now: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes, sense: int
        ) -> None:
            self.commands += 1

        def on_xfer(self, *_: object) -> None: ...

    with running(tmp_path, one_target(disk, more=MORE)) as server:
        sessions = [server.connect(name=name) for name in "ab"]
        read_until_lent(server, sessions)
        count, probes = Count(), server.server.probes
        on_loop(server, lambda: probes.subscribe(SCSI_COMMAND, count))
        lent(server, 0)
        for session in sessions:
            for _ in range(53):
                session.read(0, BLOCKS)
        lent(server, 0)
        assert count.commands == 2 * 53
        on_loop(server, lambda: probes.subscribe(0, count))
        read_until_lent(server, sessions)
        for session in sessions:
            session.logout()


def stays(session: Session, begin: int, blocks: int, while_doing: Callable[[], object]) -> None:
    """What is on the disk does not change for a while."""
    before = session.read(begin, blocks)
    while_doing()
    assert session.read(begin, blocks) == before


@pytest.mark.parametrize("keys", [None, ASKED], ids=["immediate", "asked"])
@pytest.mark.parametrize("how", ["reservation", "write protection"])
def test_nothing_lands_after_the_answer(tmp_path: Path, disk: str, how: str, keys: dict[str, str] | None) -> None:
    with running(tmp_path, one_target(disk, more=MORE)) as server:
        load, fence = Load(server, 2, keys), server.connect(name="fence")
        if how == "reservation":
            persistent_out(fence, REGISTER, 0, 7)
        for _ in range(20):
            if how == "reservation":
                persistent_out(fence, RESERVE, 7)
            else:
                write_protect(fence, True)
            for begin in (0, 4096):
                stays(fence, begin, 64 * BLOCKS, lambda: fence.nop(b"x"))
            if how == "reservation":
                persistent_out(fence, RELEASE, 7)
            else:
                write_protect(fence, False)
            load.goes_on(20)
        load.end()
        assert sum(load.refused) > 0
        fence.logout()


def test_resets_and_resizes_beside_a_load(tmp_path: Path, disk: str) -> None:
    with running(tmp_path, one_target(disk, more=MORE)) as server:
        load, other = Load(server, 2), server.connect(name="other")
        unit = server.server.assembly.units[0][1]
        sizes = [16 << 20, 12 << 20]
        for turn in range(20):
            assert other.manage(ManagementFunction.LOGICAL_UNIT_RESET).bhs[2] == 0
            size = sizes[turn % 2]
            done: list[BaseException | None] = []
            on_loop(server, partial(unit.resize, size, done.append))
            eventually(done.__len__)
            assert done == [None]
            other.command(TEST_UNIT_READY)
            other.command(TEST_UNIT_READY)
            assert unit.store.size == size
            load.goes_on(20)
        load.end()
        other.logout()


def test_a_silent_connection_is_pinged_and_one_that_talks_is_not(tmp_path: Path) -> None:
    needs_data_path()
    limits = "nop_interval = 0.2\nnop_timeout = 60"
    with running(tmp_path, one_target("ram:16M", more=MORE, limits=limits)) as server:
        session = server.connect()
        read_until_lent(server, [session])
        (tcp,) = server.server.connections.tcp.values()
        eventually(lambda: tcp.conn.pinged)
        session.read(0, BLOCKS)  # reads the ping, and answers it
        session.logout()


@pytest.mark.parametrize("keys", [None, ASKED], ids=["immediate", "asked"])
def test_long_segments_to_and_fro(tmp_path: Path, disk: str, keys: dict[str, str] | None) -> None:
    """As long as is declared, 256 KiB, and several of them; in between a command that brings the connection back."""
    with running(tmp_path, one_target(disk, more=MORE)) as server:
        session = server.connect(keys=keys)
        rng = random.Random(1)
        for count in (8, 511, 512, 513, 2048, 512):
            read_until_lent(server, [session])
            data = rng.randbytes(count * 512)
            tasks = [session.start_command(struct.pack(">BBIBHB", 0x2A, 0, 100, 0, count, 0), write=data)]
            tasks.append(session.start_command(TEST_UNIT_READY))
            tasks.append(session.start_command(struct.pack(">BBIBHB", 0x2A, 0, 9000, 0, count, 0), write=data))
            assert all(session.wait(task).good for task in tasks)
            assert session.read(100, count) == session.read(9000, count) == data
        session.logout()


def test_data_that_never_comes_ends_its_command(tmp_path: Path) -> None:
    """A data thread has begun the WRITE; the loop's timer looks."""
    needs_data_path()
    with running(tmp_path, one_target("ram:16M", more=MORE, limits="data_out_timeout = 0.3")) as server:
        session = server.connect(keys=ASKED)
        read_until_lent(server, [session])
        (tcp,) = server.server.connections.tcp.values()
        cdb = struct.pack(">BBIBHB", 0x2A, 0, 0, 0, BLOCKS, 0)
        task = session.start_command(cdb, write=bytes(4096), immediate=False, unsolicited=False, hold_r2ts=True)
        while not task.pdus:
            session.pump()
        assert (tcp.conn.path.transfers, tcp.conn.commands) == (1, {})
        lent(server, 1)
        result = session.wait(task)
        assert (result.status, result.sense_code) == (2, (0xB, 0x4B, 0x06))
        read_until_lent(server, [session])
        session.logout()


def test_a_server_ends_while_all_connections_are_lent(tmp_path: Path) -> None:
    needs_data_path()
    server = Running(make_server(tmp_path, one_target("ram:16M", more=MORE)))
    sessions = [server.connect(name=name) for name in "abc"]
    read_until_lent(server, sessions)
    server.end()
    for session in sessions:
        session.close()


def test_what_waits_for_the_disk_is_no_mixture_with_what_threads_write(tmp_path: Path) -> None:
    """Two sessions rewrite the same blocks in data threads; another reads them while they are not in the page cache."""
    needs_data_path()
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    with running(tmp_path, one_target(f"file:{disk}", more=MORE)) as server:
        sessions = [server.connect(name=f"{n}") for n in range(3)]
        read_until_lent(server, sessions)
        reader, *writers = sessions
        ends, failures = threading.Event(), []

        def rewrite(session: Session, filler: int) -> None:
            try:
                while not ends.is_set():
                    session.write(0, bytes([filler]) * LONGEST)
                    filler = filler % 255 + 1
            except Exception as error:
                failures.append(error)

        helpers = [threading.Thread(target=rewrite, args=(each, n * 100 + 1)) for n, each in enumerate(writers)]
        for helper in helpers:
            helper.start()
        fd = os.open(disk, os.O_RDONLY)
        for _ in range(150):
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert len(set(reader.read(0, LONGEST // 512))) == 1
        os.close(fd)
        ends.set()
        for helper in helpers:
            helper.join()
        for session in sessions:
            session.logout()
            session.close()
        assert not failures
