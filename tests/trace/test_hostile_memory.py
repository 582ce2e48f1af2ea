"""The memory that a reader shares with the server: what it may do to it, and what it may find in it."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading

import pytest

from iscsitools import trace
from iscsitools.trace import memory
from iscsitools.trace.client.live import RingTrace
from iscsitools.trace.protocol import HEADER, TraceError
from iscsitools.trace.record import SIZE

from .hostile import Raw, all_back, open_files, still_serves
from .support import Host, connection, fire_read


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
