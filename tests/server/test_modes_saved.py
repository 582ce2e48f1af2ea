"""Saved mode pages over the death of the server, and thresholds of a real file system."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import ConnectionClosedError, Session

IQN = "iqn.2026-11.example:saved"
NAA = "3000000000000078"
SIZE = 64 << 20


def serve(folder: Path, **lun: str) -> RunningTarget:
    options = "".join(f",{name}={value}" for name, value in lun.items())
    return start_target(folder, "--iqn", IQN, "--lun", f"file:{folder}/disk.img,size={SIZE},naa={NAA}{options}")


def connect(target: RunningTarget) -> Session:
    session = Session.connect(target.addresses[0], IQN)
    session.command(bytes(6))
    return session


def save(session: Session, page: str) -> bool:
    data = bytes(4) + bytes.fromhex(page)
    return session.command(bytes([0x15, 0x11, 0, 0, len(data), 0]), write=data).good


def page(session: Session, control: int, code: int, subpage: int = 0) -> bytes:
    return session.command(bytes([0x1A, 8, control << 6 | code, subpage, 255, 0]), read=255).data[4:]


CONTROL, PROTECTED = "0a0a00100000000000000000", "0a0a00100800000000000000"
UNCACHED = "0812" + "00" * 18


def test_saved_pages_survive_a_kill(tmp_path: Path) -> None:
    with serve(tmp_path) as target, connect(target) as session:
        assert save(session, PROTECTED)
        assert save(session, UNCACHED)
        target.kill()
    with serve(tmp_path) as target, connect(target) as session:
        assert target.says("its mode is back")
        assert page(session, 0, 0x0A).hex() == page(session, 3, 0x0A).hex() == "8a" + PROTECTED[2:]
        assert page(session, 0, 0x08)[2] == 0
        assert session.command(bytes.fromhex("2a000000000000000100"), write=bytes(512)).sense[2] == 7
        assert save(session, CONTROL)
    with serve(tmp_path) as target, connect(target) as session:
        assert session.command(bytes.fromhex("2a000000000000000100"), write=bytes(512)).good


def test_a_damaged_file_ends_the_start_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "data" / "iscsitools" / "mode" / f"{NAA}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(RuntimeError) as failed:
        serve(tmp_path)
    assert f"its mode: {file} is damaged" in str(failed.value)
    assert "Traceback" not in str(failed.value)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_kill_at_any_moment_leaves_the_old_values_or_the_new(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    protected = False
    for _ in range(4):
        with serve(tmp_path) as target, connect(target) as session:
            killer = threading.Timer(rng.random() / 20, target.kill)
            killer.start()
            try:
                while save(session, CONTROL if protected else PROTECTED):
                    protected = not protected
            except (OSError, ConnectionClosedError):
                pass
            killer.join()
        with serve(tmp_path) as target, connect(target) as session:
            found = bool(page(session, 3, 0x0A)[4] & 8)
            protected = found  # the last answer, or the command that was under way
            assert page(session, 0, 0x0A) == page(session, 3, 0x0A)


def test_a_file_system_that_fills_is_told_by_a_unit_attention(tmp_path: Path) -> None:
    with serve(tmp_path, thin="yes") as target, connect(target) as session:
        log = session.command(bytes.fromhex("4d004c00000000004000"), read=64).data
        assert int.from_bytes(log[20:24], "big") <= 1, "what a file system takes for an empty file"
        thresholds = "5c02001c" + "00" * 12 + "0001000000000000" + "8102000000000008"  # 8 MiB used
        assert save(session, "010ac0000000008000000000" + thresholds)
        block = os.urandom(1 << 20)
        told = []
        for at in range(12):
            cdb = b"\x2a\0" + (at * 2048).to_bytes(4, "big") + b"\0\x08\0\0"
            while not (answer := session.command(cdb, write=block)).good:
                told.append(answer.sense[12:14])
        session.command(bytes.fromhex("35000000000000000000"))
        while not told:
            answer = session.command(bytes(6))
            if not answer.good:
                told.append(answer.sense[12:14])
        assert told == [b"\x38\x07"]
        log = session.command(bytes.fromhex("4d004c00000000004000"), read=64).data
        assert int.from_bytes(log[20:24], "big") >= 8
        statistics = session.command(bytes.fromhex("4d005900000000006000"), read=96).data
        assert int.from_bytes(statistics[16:24], "big") == 12
        assert int.from_bytes(statistics[24:32], "big") == 12 * 2048
