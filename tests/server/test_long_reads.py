"""Long reads from a file: the bytes that it had when the command was served, also to a slow reader."""

from __future__ import annotations

import os
import random
import socket
import threading
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import Session

IQN = "iqn.2026-11.example:long"
MEGABYTES = 8
STEP = 256 << 10
KEYS = {"MaxBurstLength": "1048576", "MaxRecvDataSegmentLength": "1048576"}


def read16(offset: int, length: int) -> bytes:
    return b"\x88\0" + (offset // 512).to_bytes(8, "big") + (length // 512).to_bytes(4, "big") + b"\0\0"


@pytest.fixture
def content() -> bytes:
    return random.Random(16).randbytes(MEGABYTES << 20)


@pytest.fixture
def target(tmp_path: Path, content: bytes):
    (tmp_path / "disk.img").write_bytes(content)
    with start_target(tmp_path, "--iqn", IQN, "--lun", f"file:{tmp_path / 'disk.img'}") as running:
        yield running


def connect(target: RunningTarget, **login: object) -> Session:
    session = Session.connect(target.addresses[0], IQN, keys=KEYS, **login)
    session.command(bytes(6))
    return session


@pytest.mark.parametrize("digests", ["None", "CRC32C"])
def test_long_reads_bring_the_file(target: RunningTarget, content: bytes, digests: str) -> None:
    with connect(target, digests=digests) as session:
        for length in (STEP, 300 << 10, 512 << 10):
            for offset in (0, 512, 4096 * 3 + 1024, len(content) - length):
                result = session.command(read16(offset, length), read=length)
                assert result.good
                assert result.data == content[offset : offset + length]


def test_long_and_short_reads_and_writes_stay_in_order(target: RunningTarget, content: bytes) -> None:
    with connect(target) as session:
        tasks = []
        for number in range(24):
            length = STEP if number % 3 else 4096
            tasks.append((session.start_command(read16(number * STEP, length), read=length), number * STEP, length))
        for task, offset, length in tasks:
            assert session.wait(task).data == content[offset : offset + length]
        new = random.Random(17).randbytes(STEP)
        session.write(2 * STEP // 512, new)
        assert session.command(read16(2 * STEP, STEP), read=STEP).data == new


def test_a_slow_reader_gets_every_byte(target: RunningTarget, content: bytes) -> None:
    with connect(target) as session:
        session.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        tasks = [session.start_command(read16(n * STEP, STEP), read=STEP) for n in range(30)]
        with connect(target, isid=0x400001370009) as other:  # the first one's output waits meanwhile
            assert other.command(read16(0, 4096), read=4096).data == content[:4096]
        for number, task in enumerate(tasks):
            assert session.wait(task).data == content[number * STEP : (number + 1) * STEP]


@pytest.mark.parametrize("cut", [1448, 100_100, 200_000])
def test_what_is_written_behind_a_read_never_shows_in_it(target: RunningTarget, content: bytes, cut: int) -> None:
    """While a part of its data is on its way, another session writes there, and has its answer."""
    with connect(target) as reader, connect(target, isid=0x400001370009) as writer:
        sock = reader.wire.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)  # less than that and Linux waits for seconds
        reader.start_command(read16(0, STEP), read=STEP)
        got = bytearray()
        while len(got) < 48 + cut:
            got += sock.recv(48 + cut - len(got))
        for at in range(0, STEP, 65536):
            writer.write(at // 512, bytes(65536))
        while len(got) < 48 + STEP:
            got += sock.recv(48 + STEP - len(got))
        assert got[48:] == content[:STEP]


def test_a_file_cut_off_under_reads_costs_those_beyond_its_end_only(
    target: RunningTarget, tmp_path: Path, content: bytes
) -> None:
    with connect(target) as session:
        session.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        tasks = [session.start_command(read16(n * STEP, STEP), read=STEP) for n in range(30)]
        assert session.wait(tasks[0]).good  # the others are on their way
        os.truncate(tmp_path / "disk.img", 1 << 20)
        ends = [session.wait(task) for task in tasks[1:]]
        for number, end in enumerate(ends, 1):
            if end.good:
                assert end.data == content[number * STEP : (number + 1) * STEP]
            else:
                assert end.sense_code == (3, 0x11, 0)
        assert not all(end.good for end in ends)
        assert session.command(read16(0, STEP), read=STEP).data == content[:STEP]
    with connect(target) as session:
        assert session.command(read16(0, 4096), read=4096).data == content[:4096]
        assert session.command(read16(1 << 20, 4096), read=4096).sense_code == (3, 0x11, 0)


@pytest.mark.parametrize("length", [4096, STEP, 512 << 10])
@pytest.mark.parametrize("path", ["python", "auto"])
def test_a_file_that_is_cut_and_grown_all_the_time_ends_no_connection(tmp_path: Path, path: str, length: int) -> None:
    """At whatever moment it is cut, each read has its bytes or ends with MEDIUM ERROR."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    options = ("--iqn", IQN, "--lun", f"file:{disk}", "--provider", "none", "--data-path", path)
    done = threading.Event()

    def cut_and_grow() -> None:
        while not done.is_set():
            for size in (1 << 20, length // 2):
                os.truncate(disk, size)

    with start_target(tmp_path, *options) as target, connect(target) as session:
        cutter = threading.Thread(target=cut_and_grow)
        cutter.start()
        try:
            seen = set()
            for _ in range(400):
                tasks = [session.start_command(read16(0, length), read=length) for _ in range(4)]
                for end in map(session.wait, tasks):
                    seen.add(end.good)
                    assert end.data == bytes(length) if end.good else end.sense_code == (3, 0x11, 0)
                if seen == {True, False}:
                    break
        finally:
            done.set()
            cutter.join()
        os.truncate(disk, 1 << 20)
        assert session.command(read16(0, length), read=length).data == bytes(length)
