"""WRITE ATOMIC(16) on the wire, what Block Limits says, and a server that is killed within one."""

from __future__ import annotations

import random
import struct
import threading
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.backstores.atomic_journal import SIZE, AtomicJournal
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.initiator import ConnectionClosedError, Session

IQN = "iqn.2026-11.example:atomic"
NAA = "3000000000000055"
BLOCKS = 256


def serve(folder: Path, store: str = "file:{}/disk.img,size=4M,naa=" + NAA) -> RunningTarget:
    return start_target(folder, "--iqn", IQN, "--lun", store.format(folder))


def connect(target: RunningTarget) -> Session:
    session = Session.connect(target.addresses[0], IQN)
    session.command(bytes(6))
    return session


def write(session: Session, lba: int, data: bytes, blocks: int | None = None, boundary: int = 0):
    count = len(data) // 512 if blocks is None else blocks
    return session.command(struct.pack(">BBQHHBB", 0x9C, 0, lba, boundary, count, 0, 0), write=data)


def journal(target: RunningTarget, folder: Path) -> Path:
    (found,) = folder.rglob("atomic/*.journal")
    return found


def limits(session: Session) -> tuple[int, ...]:
    page = session.command(bytes.fromhex("1201b000ff00"), read=255).data
    return struct.unpack_from(">5I", page, 44)


def test_it_writes_and_says_what_holds(tmp_path: Path) -> None:
    with serve(tmp_path) as target, connect(target) as session:
        assert limits(session) == (2048, 0, 0, 0, 0)
        data = random.Random(1).randbytes(BLOCKS * 512)
        assert write(session, 7, data).good
        assert session.read(7, BLOCKS) == data
        assert write(session, 8192 - 1, bytes(1024)).sense_code == (5, 0x21, 0)
        assert write(session, 0, bytes(512), 2049).sense_code == (5, 0x24, 0)
        assert write(session, 0, bytes(512), boundary=1).sense_code == (5, 0x24, 0)
        assert write(session, 0, bytes(512), 2).sense_code == (5, 0x0E, 3)
        assert write(session, 0, b"").good
        supported = session.command(bytes.fromhex("a30c039c0000000000ff0000"), read=255).data
        assert supported[1] & 7 == 3


@pytest.mark.parametrize("store", ["ram:4M", "file:{}/disk.img,size=4M,readonly=yes"])
def test_nothing_is_claimed_where_nothing_holds(tmp_path: Path, store: str) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(4 << 20))
    with serve(tmp_path, store) as target, connect(target) as session:
        assert limits(session) == (0, 0, 0, 0, 0)
        assert write(session, 0, bytes(512)).sense_code in ((5, 0x20, 0), (7, 0x27, 0))
        supported = session.command(bytes.fromhex("a30c039c0000000000ff0000"), read=255).data
        assert supported[1] & 7 == 1


def test_what_was_broken_off_is_finished_at_the_start(tmp_path: Path) -> None:
    with serve(tmp_path) as target, connect(target) as session:
        assert write(session, 0, bytes([1]) * BLOCKS * 512).good
        path = journal(target, tmp_path)

    class Lost(Backstore):
        def write(self, offset, buffer):
            raise KeyboardInterrupt  # the power is gone before the data was in its place

        def flush(self):
            raise AssertionError

    class NoVoid(AtomicJournal):
        def _make_void(self):
            pass

    place = FileBackstore(str(path), size=SIZE)
    place.open()
    with pytest.raises(KeyboardInterrupt):
        NoVoid(place).write(Lost(), 512, memoryview(bytes([2]) * 1024))
    place.close()
    with serve(tmp_path) as target, connect(target) as session:
        assert target.says("an atomic write of 1024 bytes was finished")
        assert session.read(0, 4) == bytes([1]) * 512 + bytes([2]) * 1024 + bytes([1]) * 512
        assert session.command(bytes.fromhex("2a000000000100000100"), write=bytes(512)).good
    with serve(tmp_path) as target, connect(target) as session:
        assert session.read(1, 1) == bytes(512)
        assert "was finished" not in target.stop()


def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    chance = random.Random(5)
    old = bytes([0]) * BLOCKS * 512
    with serve(tmp_path) as target, connect(target) as session:
        assert write(session, 0, old).good
    for number in range(1, 4):
        with serve(tmp_path) as target, connect(target) as session:
            assert session.read(0, BLOCKS) == old
            timer = threading.Timer(chance.uniform(0, 0.05), target.kill)
            timer.start()
            acknowledged, value = old, 0
            try:
                while True:
                    value += 1
                    sent = bytes([number * 40 + value % 40]) * BLOCKS * 512
                    if not write(session, 0, sent).good:
                        break
                    acknowledged = sent
            except (ConnectionClosedError, OSError):
                pass
            timer.join()
        with serve(tmp_path) as target, connect(target) as session:
            old = session.read(0, BLOCKS)
            assert old in (acknowledged, sent)
