"""An initiator that asks for much and takes no answer: what waits for the disk waits for its output, too."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.native import needs_data_path, needs_ring

from iscsitools.initiator import Session
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT
from iscsitools.testing.serving import IQN, Served, serve
from iscsitools.wire.scsi import Status

from . import held_disk

BLOCK, BLOCKS, READS = 4096, 64, 1000
FLYING = 16 << 20
"""What a ring holds at the most: 128 commands of 64 KiB, and 8 MiB of longer ones."""


@pytest.fixture
def served(in_thread: bool, tmp_path: Path) -> Iterator[Served]:
    needs_data_path()
    needs_ring()
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"o" * (1 << 20))
    with serve(f"held:{disk},block_size={BLOCK}", plugins=(held_disk,)) as served:
        yield served


def held_at_most(served: Served) -> int:
    """Bytes in the account of all memory, until nothing moves any more."""
    buffers = served._server.connections._buffers
    most, quiet = 0, time.monotonic() + 1
    while time.monotonic() < quiet:
        if buffers.reserved > most:
            most, quiet = buffers.reserved, time.monotonic() + 1
        time.sleep(0.01)
    return most


def test_unread_answers_do_not_grow(served: Served) -> None:
    length = BLOCKS * BLOCK
    read = struct.pack(">BBQIBB", 0x88, 0, 0, BLOCKS, 0, 0)
    with Session.connect(served.address, IQN) as session:
        session.command(bytes(6))
        for _ in range(20):
            assert session.command(read, read=length).good
        tasks = []
        for _ in range(READS):
            session.max_cmd_sn = session.cmd_sn + 1  # it does not care for the window
            tasks.append(session.start_command(read, read=length))
        assert held_at_most(served) < 2 * OUTPUT_LIMIT + FLYING < READS * length // 8
        for task in tasks:  # all are answered, those that found the queue full with that
            result = session.wait(task)
            assert result.data == b"o" * length or result.status == Status.TASK_SET_FULL
