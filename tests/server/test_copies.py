"""Copies on the wire: between files and targets of one server, who may have what copied, and what ls shows."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.initiator import Session

from .harness import eventually

ONE, TWO, GUARDED = (f"iqn.2026-11.example:{name}" for name in ("one", "two", "guarded"))
CONFIG = """
[[target]]
iqn = "iqn.2026-11.example:one"
[[target.lun]]
store = "file:{0}/a.img"
naa = "3000000000000001"
[[target.lun]]
number = 1
store = "ram:4M"
naa = "3000000000000002"
[[target]]
iqn = "iqn.2026-11.example:two"
[[target.lun]]
store = "file:{0}/b.img"
naa = "3000000000000003"
[[target]]
iqn = "iqn.2026-11.example:guarded"
[target.auth]
method = "chap"
users = [{{ name = "user", secret = "123456789012" }}]
[[target.lun]]
store = "ram:1M"
naa = "3000000000000004"
"""
SIZE = 4 << 20


@pytest.fixture
def target(tmp_path: Path):
    content = os.urandom(SIZE // 2) + bytes(SIZE // 2)
    for name, start in (("a.img", content[: SIZE // 2]), ("b.img", b"")):
        (tmp_path / name).write_bytes(start)
        os.truncate(tmp_path / name, SIZE)
    (tmp_path / "target.toml").write_text(CONFIG.format(tmp_path))
    with start_target(tmp_path, "--config", str(tmp_path / "target.toml")) as running:
        running.content = content
        yield running


def connect(target, iqn: str, number: int = 1, chap: tuple[str, str] | None = None) -> Session:
    session = Session.connect(target.addresses[0], iqn, isid=0x400001370000 + number, chap=chap)
    for lun in (0, 1):
        session.command(bytes(6), lun)
    return session


def cscd(number: int) -> bytes:
    naa = bytes.fromhex(f"300000000000000{number}")
    return struct.pack(">BBHBBBB", 0xE4, 0, 0, 1, 3, 0, 8) + naa.ljust(20, b"\0") + bytes([0, 0, 2, 0])


def copy(session: Session, source: int, to: int, blocks: int, at: int = 0):
    segment = struct.pack(">BBHHH2xHQQ", 2, 0, 24, 0, 1, blocks, at, at)
    data = struct.pack(">BBH4xII", 1, 0, 64, 28, 0) + cscd(source) + cscd(to) + segment
    return session.command(struct.pack(">BB8xIxx", 0x83, 0, len(data)), write=data)


def test_files_and_memory_of_two_targets(target, tmp_path: Path) -> None:
    blocks = SIZE // 512
    with connect(target, ONE) as one, connect(target, TWO) as two:
        assert copy(one, 1, 3, blocks).good
        assert b"".join(two.read(lba, 2048) for lba in range(0, blocks, 2048)) == target.content
        assert os.stat(tmp_path / "b.img").st_blocks * 512 < SIZE
        assert copy(two, 3, 2, blocks).good
        assert b"".join(one.read(lba, 2048, lun=1) for lba in range(0, blocks, 2048)) == target.content
        status = one.command(bytes.fromhex("84000100000000000000000000ff0000"), read=255).data
        assert status == struct.pack(">IBHBI", 8, 1, 1, 0, SIZE)


def test_a_target_that_asks_for_a_secret_is_not_opened_by_a_name(target) -> None:
    chap = ("user", "123456789012")
    with connect(target, ONE) as one, connect(target, GUARDED, chap=chap) as guarded:
        assert copy(one, 4, 1, 8).sense_code == (0xA, 0x0D, 2)
        assert copy(guarded, 1, 4, 8).good
        assert guarded.read(0, 8) == target.content[:4096]
    with connect(target, TWO) as two:
        assert copy(two, 1, 3, 8).sense_code == (0xA, 0x0D, 2)


def test_a_token_is_used_through_another_target(target) -> None:
    with connect(target, ONE) as one, connect(target, TWO, 2) as two:
        populate = struct.pack(">HBxII2xHQI4x", 30, 0, 0, 0, 16, 0, 4096)
        assert one.command(struct.pack(">BB4xIIxx", 0x83, 0x10, 7, len(populate)), write=populate).good
        told = one.command(struct.pack(">BBI4xIxx", 0x84, 7, 7, 2048), read=2048).data
        write = struct.pack(">HB5xQ", 550, 1, 0) + told[38:] + struct.pack(">6xHQI4x", 16, 4096, 4096)
        assert two.command(struct.pack(">BB4xIIxx", 0x83, 0x11, 8, len(write)), write=write).good
        while True:
            state = two.command(struct.pack(">BBI4xIxx", 0x84, 7, 8, 2048), read=2048).data
            if state[5] != 0x12:
                break
        assert (state[5], int.from_bytes(state[16:24], "big")) == (1, 4096)
        assert two.read(4096, 4096) == target.content[: SIZE // 2]


def test_ls_shows_what_is_under_way(tmp_path: Path) -> None:
    (tmp_path / "target.toml").write_text(CONFIG.format(tmp_path).replace("ram:4M", "ram+delay:4M,delay.write=30s"))
    for name in ("a.img", "b.img"):
        (tmp_path / name).write_bytes(os.urandom(SIZE))
    with start_target(tmp_path, "--config", str(tmp_path / "target.toml")) as target, connect(target, ONE) as one:
        segment = struct.pack(">BBHHH2xHQQ", 2, 0, 24, 0, 1, 8192, 0, 0)
        data = struct.pack(">BBH4xII", 1, 0, 64, 28, 0) + cscd(1) + cscd(2) + segment
        one.start_command(struct.pack(">BB8xIxx", 0x83, 0, len(data)), write=data)
        assert "copies 4 MiB for iqn.2026-11.example:initiator, 0% done" in eventually(lambda: _listing(target))
        target.kill()


def _listing(target) -> str:
    """What ls says, once the copy is in it."""
    found = subprocess.run(
        [sys.executable, "-m", "iscsitools", "ls", "--name", f"iscsi{target.pid}"],
        env=dict(os.environ, XDG_RUNTIME_DIR=str(target.runtime)), stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    return found if "copies" in found else ""
