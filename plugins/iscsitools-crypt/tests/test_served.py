"""The filter behind a server: SANITIZE, atomic writes, and what is left of either outside of the disk."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from iscsitools.initiator import Session
from iscsitools.testing.serving import Served, serve

CRYPTO_ERASE = 3
TEXT = b"What nobody else may read. " * 2000


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server keeps what outlives it; not in memory, for there atomic writes are not claimed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def served(tmp_path: Path, key_file: Path) -> Iterator[Served]:
    spec = f"file+crypt:{tmp_path}/disk,size=5M,thin=yes,crypt.key_file={key_file}"
    with serve(spec) as server:
        yield server


def sanitize(session: Session, action: int) -> None:
    assert session.command(struct.pack(">BB8x", 0x48, action)).good


def supports(session: Session, cdb: str) -> bool:
    return session.command(bytes.fromhex(cdb), read=255).data[1] & 7 == 3


def test_sanitize_changes_the_key(served: Served) -> None:
    with served.connect() as session:
        assert supports(session, "a30c02480003000000ff0000")
        data = TEXT[: 64 * 512]
        session.write(0, data)
        sanitize(session, CRYPTO_ERASE)
        assert session.command(bytes(6)).good
        found = session.read(0, 64)
        assert found != data
        assert b"nobody" not in found
        assert session.read(64, 8) == bytes(4096), "what was never written still is zeros"
        session.write(0, data)
        assert session.read(0, 64) == data
        assert session.command(bytes.fromhex("480300000000000008 00".replace(" ", ""))).sense_code == (5, 0x24, 0)


def test_without_a_key_there_is_nothing_to_change(tmp_path: Path, key_file: Path) -> None:
    plain = f"file:{tmp_path}/plain,size=2M"
    cow = f"file+crypt+cow:{tmp_path}/base,crypt.key_file={key_file}"
    (tmp_path / "base").write_bytes(bytes(2 << 20))
    with serve(f"file+crypt:{tmp_path}/base,crypt.key_file={key_file}"):
        pass
    with serve(plain, cow) as server, server.connect() as session:
        for lun in (0, 1):
            assert session.command(struct.pack(">BB8x", 0x48, CRYPTO_ERASE), lun).sense_code == (5, 0x24, 0)


def test_an_atomic_write_leaves_nothing_readable_in_its_journal(served: Served, state: Path) -> None:
    data = TEXT[: 64 * 512]
    with served.connect() as session:
        command = struct.pack(">BBQHHBB", 0x9C, 0, 5, 0, 64, 0, 0)
        assert session.command(command, write=data).good
        assert session.read(5, 64) == data
        sanitize(session, CRYPTO_ERASE)
    found = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    assert any(len(content) > len(data) for content in found)
    assert not [content for content in found if b"nobody" in content]


def test_an_atomic_write_that_was_broken_off_is_finished(tmp_path: Path, key_file: Path, state: Path) -> None:
    from iscsitools.backstores.atomic_journal import SIZE, AtomicJournal
    from iscsitools.backstores.file import FileBackstore

    spec = f"file+crypt:{tmp_path}/disk,size=5M,crypt.key_file={key_file}"
    old, new = b"o" * 4096, b"n" * 4096
    with serve(spec) as server, server.connect() as session:
        assert session.command(struct.pack(">BBQHHBB", 0x9C, 0, 0, 0, 8, 0, 0), write=old).good
        store = server.stores[0]

        class PowerIsGone(BaseException):
            pass

        class Lost:
            seal = store.seal

            def write_through(self, offset: int, data: memoryview) -> None:
                raise PowerIsGone

        class NoVoid(AtomicJournal):
            def _make_void(self) -> None:
                pass

        (path,) = state.rglob("*.journal")
        place = FileBackstore(str(path), size=SIZE)
        place.open()
        with pytest.raises(PowerIsGone):
            NoVoid(place).write(Lost(), 512, memoryview(new[:1024]))  # type: ignore[arg-type]
        place.close()
        assert b"nnnn" not in path.read_bytes()
    with serve(spec) as server, server.connect() as session:
        assert session.read(0, 8) == old[:512] + new[:1024] + old[1536:]


def test_fua_compare_and_write_and_unmap(served: Served) -> None:
    with served.connect() as session:
        block, other = os.urandom(512), os.urandom(512)
        assert session.command(bytes.fromhex("2a080000000700000100"), write=block).good
        assert session.read(7, 1) == block
        caw = struct.pack(">BBQ3xB2x", 0x89, 0, 7, 1)
        assert session.command(caw, write=other + block).sense_code == (0xE, 0x1D, 0)
        assert session.command(caw, write=block + other).good
        assert session.read(7, 1) == other
        unmap = struct.pack(">HH4xQI4x", 22, 16, 0, 64)
        assert session.command(bytes.fromhex("42000000000000001800"), write=unmap).good
        assert session.read(0, 64) == bytes(64 * 512)


def test_others_wait_until_it_is_done_and_a_server_that_ended_goes_on(tmp_path: Path, key_file: Path) -> None:
    spec = f"file+delay+crypt:{tmp_path}/disk,size=5M,crypt.key_file={key_file}"
    with serve(spec) as server, server.connect() as session:
        session.write(0, TEXT[:512])
    with serve(f"{spec},delay.flush=1s") as server, server.connect() as session:
        assert session.command(struct.pack(">BB8x", 0x48, 0x80 | CRYPTO_ERASE)).good
        assert session.command(bytes(6)).sense[12:14] == b"\x04\x1b"
        server.end()
    with serve(spec) as server, server.connect() as session:
        while not session.command(bytes(6)).good:
            time.sleep(0.05)
        assert session.read(0, 1) != TEXT[:512]
