"""What is durable when, what is freed, and what initiators learn of a new size."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.initiator import Session

from .harness import IQN, SYNCHRONIZE_CACHE, TEST_UNIT_READY, eventually, one_target, read10, running, write10

DATA = bytes(range(256)) * 16
READ_CAPACITY_10 = b"\x25" + bytes(9)
MODE_SENSE_CACHING = bytes([0x1A, 8, 8, 0, 192, 0])
CAPACITY_CHANGED = (6, 0x2A, 9)


def cache(kind: str, mode: str) -> str:
    return one_target(f'store = "{kind}:1M", cache = "{mode}"')


@pytest.mark.parametrize("kind", ["gate", "inline"])
def test_writeback_is_durable_when_asked_for(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, cache(kind, "writeback")) as target, target.connect() as session:
        gate = target.gate()
        assert session.command(MODE_SENSE_CACHING, read=192).data[6] & 4  # WCE
        session.write(0, DATA)
        session.read(0, 8)
        assert gate.calls == ["write", "read"]
        assert session.command(SYNCHRONIZE_CACHE).good
        assert gate.calls == ["write", "read", "flush"]
        gate.calls.clear()
        assert session.command(write10(8, 8, fua=True), write=DATA).good
        assert gate.calls == ["write", "flush"]
        gate.calls.clear()
        assert session.command(read10(8, 8, fua=True), read=4096).data == DATA
        assert gate.calls == ["flush", "read"]


@pytest.mark.parametrize("kind", ["gate", "inline"])
def test_writethrough_is_durable_always(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, cache(kind, "writethrough")) as target, target.connect() as session:
        gate = target.gate()
        assert gate.calls == ["flush"], "what others have written before is made durable at the start"
        gate.calls.clear()
        assert not session.command(MODE_SENSE_CACHING, read=192).data[6] & 4
        for n in range(3):
            session.write(8 * n, DATA)
        session.write(0, DATA * 64, immediate=True)
        assert gate.calls == ["write", "flush"] * 4


def test_a_disk_that_cannot_be_flushed_at_the_start_is_not_served_as_durable(tmp_path: Path) -> None:
    spec = f"file+error:{tmp_path}/disk,size=1M,error.flush=100%,cache=writethrough"
    with pytest.raises(RuntimeError) as failed:
        start_target(tmp_path, "--iqn", IQN, "--lun", spec, "--provider", "none")
    assert f"{IQN} LUN 0: with its write cache off it is flushed at the start, which failed: OSError" in str(
        failed.value
    )
    assert "Traceback" not in str(failed.value)


def test_no_status_before_the_flush_has_returned(tmp_path: Path) -> None:
    with running(tmp_path, cache("gate", "writethrough")) as target, target.connect() as session:
        gate = target.gate()
        gate.calls.clear()
        gate.held = {"flush"}
        task = session.start_command(write10(0, 8), write=DATA)
        eventually(lambda: gate.count("flush"))
        assert session.nop(b"still there").data == b"still there"
        assert task.result is None
        gate.release()
        assert session.wait(task).good


def test_the_file_store_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iscsitools.backstores import file
    from iscsitools.backstores.ring import Ended, Ring

    synced: list[int] = []
    real, by_ring = file.sync_data, Ring.sync

    def sync(ring: Ring, fd: int, ended: Ended, request: object) -> None:
        synced.append(fd)
        by_ring(ring, fd, ended, request)

    monkeypatch.setattr(file, "sync_data", lambda fd: (synced.append(fd), real(fd))[1])
    monkeypatch.setattr(Ring, "sync", sync)
    with running(tmp_path, one_target(f"file:{tmp_path}/disk.img,size=1M")) as target, target.connect() as session:
        session.write(0, DATA)
        assert not synced
        assert session.command(SYNCHRONIZE_CACHE).good
        assert len(synced) == 1
        target.end()
        assert len(synced) == 2  # and once at the end


def test_readonly(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(DATA * 16)
    disk.chmod(0o400)
    lun = f'store = "file:{disk}", readonly = true'
    with running(tmp_path, one_target(lun)) as target, target.connect() as session:
        assert session.command(MODE_SENSE_CACHING, read=192).data[2] & 0x80  # WP
        assert session.command(write10(0, 8), write=bytes(4096)).sense_code == (7, 0x27, 0)
        assert session.read(0, 8) == DATA
        assert session.command(SYNCHRONIZE_CACHE).good
    assert disk.read_bytes() == DATA * 16


def unmap(lba: int, blocks: int) -> tuple[bytes, bytes]:
    parameters = struct.pack(">HHxxxxQIxxxx", 22, 16, lba, blocks)
    return struct.pack(">BBxxxxBHx", 0x42, 0, 0, len(parameters)), parameters


def test_unmap_gives_the_files_space_back(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    lun = f'store = "file:{disk},size=8M", thin = true'
    with running(tmp_path, one_target(lun)) as target, target.connect() as session:
        for lba in range(0, 16384, 512):
            session.write(lba, os.urandom(262144))
        assert session.command(SYNCHRONIZE_CACHE).good
        before = disk.stat().st_blocks
        assert before >= 16384
        cdb, parameters = unmap(0, 8192)
        assert session.command(cdb, write=parameters).good
        assert disk.stat().st_blocks <= before - 8000
        assert session.read(0, 256) == bytes(131072)


def test_sighup_reads_sizes_anew(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    arguments = ("--iqn", IQN, "--lun", f"file:{disk},size=1M", "--lun", "ram:1M", "--provider", "none")
    with (
        start_target(tmp_path, *arguments) as target,
        Session.connect(target.addresses[0], IQN) as session,
    ):
        for lun in (0, 1):
            session.command(TEST_UNIT_READY, lun)
        os.truncate(disk, 2 << 20)
        assert session.command(read10(2048, 1), read=512).sense_code == (5, 0x21, 0)
        os.kill(target.pid, signal.SIGHUP)
        eventually(lambda: session.command(TEST_UNIT_READY).sense_code == CAPACITY_CHANGED)
        assert session.command(TEST_UNIT_READY, 1).good
        assert session.read_capacity() == (4096, 512)
        assert session.command(READ_CAPACITY_10, read=8).data == struct.pack(">II", 4095, 512)
        session.write(4088, DATA)
        os.truncate(disk, (1 << 20) + 100)
        os.kill(target.pid, signal.SIGHUP)
        eventually(lambda: session.command(TEST_UNIT_READY).sense_code == CAPACITY_CHANGED)
        assert session.read_capacity() == (2048, 512)
        os.truncate(disk, 0)
        os.kill(target.pid, signal.SIGHUP)
        eventually(lambda: "its size cannot be read, and stays what it was" in target.output)
        assert session.read_capacity() == (2048, 512)
        assert session.command(read10(0, 1), read=512).sense_code == (3, 0x11, 0)
        assert target.says(f"{IQN} LUN 0: its size has changed blocks=4096 before=2048")


def test_a_store_that_hangs_when_asked_for_its_size_keeps_only_itself(tmp_path: Path) -> None:
    with running(tmp_path, one_target("gate:1M", "gate:1M")) as target, target.connect() as session:
        first, second = target.gate(0), target.gate(1)
        first.held, second.errors = {"size"}, {"size": OSError(5, "Input/output error")}
        second.grow_to = first.grow_to = 2 << 20
        target.server.read_sizes()
        eventually(lambda: first.count("size") and second.count("size"))
        assert session.read(0, 8, lun=0) == bytes(4096)
        assert session.command(TEST_UNIT_READY, 1).good
        second.errors.clear()
        target.server.read_sizes()
        eventually(lambda: session.command(TEST_UNIT_READY, 1).sense_code == CAPACITY_CHANGED)
        assert session.command(TEST_UNIT_READY, 0).good
        first.release()
        eventually(lambda: session.command(TEST_UNIT_READY, 0).sense_code == CAPACITY_CHANGED)


def test_a_clean_writethrough_file_is_read_with_fua_without_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iscsitools.backstores import file

    synced: list[int] = []
    real = file.sync_data
    monkeypatch.setattr(file, "sync_data", lambda fd: (synced.append(fd), real(fd))[1])
    lun = f'store = "file:{tmp_path}/disk.img,size=1M", cache = "writethrough"'
    with running(tmp_path, one_target(lun)) as target, target.connect() as session:
        assert len(synced) == 1, "at the start"
        session.write(0, DATA)
        for _ in range(3):
            assert session.command(read10(0, 8, fua=True), read=4096).data == DATA
        assert len(synced) == 1


def test_a_flush_that_fails_at_the_end_is_told_and_is_the_exit_status(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    arguments = ("--iqn", IQN, "--lun", f"file+error:{disk},size=1M,error.flush=100%", "--provider", "none")
    with start_target(tmp_path, *arguments) as target:
        with Session.connect(target.addresses[0], IQN) as session:
            session.command(TEST_UNIT_READY)
            assert session.command(SYNCHRONIZE_CACHE).sense_code == (3, 0x0C, 0)
        output = target.stop()
        assert target.process.returncode == 1
    assert f"{IQN} LUN 0, file+error: SYNCHRONIZE CACHE(10) failed: OSError: [Errno 5] Input/output error" in output
    assert f"{IQN} LUN 0: flushing at the end failed: OSError" in output


def test_a_file_that_somebody_cut_is_a_medium_error_at_every_length(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    arguments = ("--iqn", IQN, "--lun", f"file:{disk},size=8M", "--provider", "none")
    with (
        start_target(tmp_path, *arguments) as target,
        Session.connect(target.addresses[0], IQN) as session,
    ):
        session.command(TEST_UNIT_READY)
        session.write(0, b"z" * 262144)
        session.read(0, 512)
        os.truncate(disk, 100 << 10)
        for blocks in (5, 504, 512, 1024):
            answer = session.command(read10(196, blocks), read=512 * blocks)
            assert answer.sense_code == (3, 0x11, 0)
            assert int.from_bytes(answer.sense[3:7], "big") == 200
        for _ in range(3):
            assert session.command(write10(196, 8), write=DATA).sense_code == (3, 0x0C, 0)
            assert session.command(write10(8192, 8, fua=True), write=DATA).sense_code == (3, 0x0C, 0)
        assert session.read(0, 8) == b"z" * 4096
        session.write(0, DATA)
        assert disk.stat().st_size == 100 << 10
        assert target.says("somebody has cut it")
        assert target.output.count("somebody has cut it") == 1
        os.kill(target.pid, signal.SIGHUP)
        eventually(lambda: session.command(TEST_UNIT_READY).sense_code == CAPACITY_CHANGED)
        session.write(192, DATA)
        assert session.command(write10(196, 8), write=DATA).sense_code == (5, 0x21, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_file_system_fails_what_needs_space_and_nothing_else(tmp_path: Path) -> None:
    """Not a disk beside it either; what is unmapped makes room."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with (
            running(tmp_path, one_target(f"file:{folder}/disk.img,size=64M", "ram:1M")) as target,
            target.connect() as session,
        ):
            answers = [session.command(write10(n * 1024, 1024), write=bytes([n]) * 524288) for n in range(1, 8)]
            good = [answer.good for answer in answers]
            assert good[0]
            assert not good[-1]
            assert {answer.sense_code for answer in answers if not answer.good} == {(7, 0x27, 7)}
            assert session.command(write10(100000, 8, fua=True), write=DATA).sense_code == (7, 0x27, 7)
            session.write(0, DATA, lun=1)
            assert session.read(1024, 8) == b"\1" * 4096
            cdb, parameters = unmap(1024, 1024)
            assert session.command(cdb, write=parameters).good
            assert session.command(write10(7 * 1024, 512), write=b"n" * 262144).good
            assert session.command(SYNCHRONIZE_CACHE).good
    finally:
        subprocess.run(["umount", str(folder)], check=True)
