from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores import places
from iscsitools.backstores.base import Backstore, BackstoreError
from iscsitools.backstores.filters import live_map, overlay_map
from iscsitools.backstores.filters.overlay_map import OverlayMap

from .conftest import read

Opened = Callable[..., Backstore]
MIB = 1 << 20


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.img"
    path.write_bytes(os.urandom(MIB))
    return path


def test_the_base_is_never_changed_and_can_be_shared(opened: Opened, base: Path, tmp_path: Path) -> None:
    before = base.read_bytes()
    base.chmod(0o400)
    first = opened(f"file+cow:{base},cow.file={tmp_path}/1")
    second = opened(f"file+cow:{base}")
    first.write(512, memoryview(b"1" * 512))
    second.write(512, memoryview(b"2" * 8192))
    first.discard(8192, 65536)
    assert read(first, 0, 2048) == before[:512] + b"1" * 512 + before[1024:2048]
    assert read(second, 512, 8192) == b"2" * 8192
    assert read(first, 8192, 65536) == bytes(65536)
    assert base.read_bytes() == before


def test_only_what_was_flushed_counts_after_a_crash(opened: Opened, base: Path, tmp_path: Path) -> None:
    """The files as they are at the crash are copied: all data has reached the overlay, the bits have not."""
    store = opened(f"file+cow:{base},cow.file={tmp_path}/now")
    store.write(0, memoryview(b"a" * 4096))
    store.flush()
    store.write(8192, memoryview(b"b" * 4096))
    for name in ("now", "now.map"):
        shutil.copyfile(tmp_path / name, tmp_path / name.replace("now", "then"))
    later = opened(f"file+cow:{base},cow.file={tmp_path}/then")
    assert read(later, 0, 4096) == b"a" * 4096
    assert read(later, 8192, 4096) == base.read_bytes()[8192 : 8192 + 4096]


KILLED = """
import os, signal, sys
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.plugins import PluginManager
manager = PluginManager()
manager.load()
store = build(parse_spec(sys.argv[1]), manager.registry)
store.open()
store.write(512, memoryview(b"k" * 16384))
store.flush()
store.write(65536 + 512, memoryview(b"k" * 16384))
assert store.try_write(2 * 65536, memoryview(b"k" * 16384))
store.discard(3 * 65536, 8192)
store.write_zeroes(4 * 65536, 8192)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("again", [1, 2])
def test_what_was_acknowledged_survives_a_kill_whatever_was_flushed(
    opened: Opened, base: Path, tmp_path: Path, again: int
) -> None:
    content = bytearray(base.read_bytes())
    for start in (512, 65536 + 512, 2 * 65536):
        content[start : start + 16384] = b"k" * 16384
    for number in (3, 4):
        content[number * 65536 : number * 65536 + 8192] = bytes(8192)
    spec = f"file+cow:{base},cow.file={tmp_path}/o"
    for _ in range(again):
        assert subprocess.run([sys.executable, "-c", KILLED, spec], check=False).returncode == -signal.SIGKILL
    assert read(opened(spec, read_only=True), 0, MIB) == content


def test_bits_of_another_boot_do_not_count(
    opened: Opened, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure the page cache is gone: only what was flushed is there, and the base elsewhere."""
    spec = f"file+cow:{base},cow.file={tmp_path}/o"
    assert subprocess.run([sys.executable, "-c", KILLED, spec], check=False).returncode == -signal.SIGKILL
    monkeypatch.setattr(places, "boot_id", lambda: "another")
    flushed = bytearray(base.read_bytes())
    flushed[512 : 512 + 16384] = b"k" * 16384
    store = opened(spec)
    assert read(store, 0, MIB) == flushed
    store.write(65536, memoryview(b"n" * 4096))
    store.close()
    monkeypatch.setattr(places, "boot_id", lambda: "")
    assert read(opened(spec), 0, MIB) == flushed, "where boots have no names, no live bits count"


def test_bits_of_another_map_do_not_count(opened: Opened, base: Path, tmp_path: Path) -> None:
    spec = f"file+cow:{base},cow.file={tmp_path}/o"
    assert subprocess.run([sys.executable, "-c", KILLED, spec], check=False).returncode == -signal.SIGKILL
    (tmp_path / "o").unlink()
    (tmp_path / "o.map").unlink()
    assert (tmp_path / "o.map.live").exists()
    assert read(opened(spec), 0, MIB) == base.read_bytes()


def test_the_live_bits_go_with_a_clean_end(opened: Opened, base: Path, tmp_path: Path) -> None:
    spec = f"file+cow:{base},cow.file={tmp_path}/o"
    store = opened(spec)
    store.write(0, memoryview(b"n" * 4096))
    assert store.unflushed
    store.flush()
    assert not store.unflushed
    assert (tmp_path / "o.map.live").exists()
    store.close()
    assert not (tmp_path / "o.map.live").exists()
    assert read(opened(spec), 0, 4096) == b"n" * 4096


def test_a_bit_that_cannot_be_kept_fails_the_write(
    opened: Opened, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    store = opened(f"file+cow:{base},cow.file={tmp_path}/o")
    with monkeypatch.context() as patch:
        patch.setattr(live_map, "write_fully", full)
        with pytest.raises(OSError, match="No space"):
            store.write(0, memoryview(b"n" * 4096))
    assert read(store, 0, 4096) == base.read_bytes()[:4096]
    store.write(0, memoryview(b"n" * 4096))
    assert read(store, 0, 4096) == b"n" * 4096


def test_a_new_map_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    rename = os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: order.append(os.readlink(f"/proc/self/fd/{fd}")))
    monkeypatch.setattr(os, "rename", lambda old, new: (order.append(f"to {new}"), rename(old, new)))
    bits = OverlayMap(MIB)
    bits.create(f"{tmp_path}/o.map")
    bits.close()
    assert order[:3] == [f"{tmp_path}/o.map.new", f"to {tmp_path}/o.map", str(tmp_path)]


def test_bits_reach_the_map_after_the_data_is_durable(
    opened: Opened, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    store = opened(f"file+cow:{base},cow.file={tmp_path}/o")
    monkeypatch.setattr("iscsitools.backstores.file.sync_data", lambda fd: order.append("sync data"))
    monkeypatch.setattr(overlay_map, "write_fully", lambda fd, offset, buffer: order.append("write bits"))
    monkeypatch.setattr(overlay_map, "sync_data", lambda fd: order.append("sync bits"))
    store.write(0, memoryview(b"a" * 4096))
    assert order == []
    store.flush()
    assert order == ["sync data", "write bits", "sync bits"]


def test_bits_of_a_flush_that_failed_are_written_by_the_next(
    opened: Opened, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError("no")

    store = opened(f"file+cow:{base},cow.file={tmp_path}/o")
    store.write(0, memoryview(b"a" * 4096))
    with monkeypatch.context() as patch:
        patch.setattr(overlay_map, "sync_data", fail)
        with pytest.raises(OSError, match="no"):
            store.flush()
    store.flush()
    bits = OverlayMap(MIB)
    bits.attach(f"{tmp_path}/o.map", read_only=True)
    assert list(bits.runs(0, 3)) == [(0, 1, True), (1, 2, False)]
    bits.close()


def test_a_file_that_is_no_overlay_is_left_alone(opened: Opened, base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x" * MIB)
    with pytest.raises(BackstoreError, match="holds data and has no map"):
        opened(f"file+cow:{base},cow.file={tmp_path}/mine")
    assert (tmp_path / "mine").read_bytes() == b"x" * MIB
    assert not (tmp_path / "mine.map").exists()


def test_an_overlay_belongs_to_one_base_size(opened: Opened, base: Path, tmp_path: Path) -> None:
    spec = f"file+cow:{base},cow.file={tmp_path}/o"
    opened(spec).flush()
    with pytest.raises(BackstoreError, match="in use"):
        opened(spec)
    shutil.copyfile(tmp_path / "o", tmp_path / "p")
    shutil.copyfile(tmp_path / "o.map", tmp_path / "p.map")
    os.truncate(base, 2 * MIB)
    other = f"file+cow:{base},cow.file={tmp_path}/p"
    with pytest.raises(BackstoreError, match="has 1048576 bytes, the base 2097152"):
        opened(other)
    os.truncate(tmp_path / "p", 2 * MIB)
    with pytest.raises(BackstoreError, match="belongs to a base of 1048576 bytes"):
        opened(other)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_bytes(b"not a map" * 1000), "no map of this version"),
        (lambda path: os.truncate(path, 5000), "cut short"),
        (lambda path: os.truncate(path, 100), "no map of this version"),
    ],
)
def test_a_damaged_map_is_refused(
    opened: Opened, base: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    OverlayMap(MIB).create(f"{tmp_path}/o.map")
    (tmp_path / "o").touch()
    os.truncate(tmp_path / "o", MIB)
    damage(tmp_path / "o.map")
    with pytest.raises(BackstoreError, match=complaint):
        opened(f"file+cow:{base},cow.file={tmp_path}/o")


def test_a_map_without_its_overlay_is_refused(opened: Opened, base: Path, tmp_path: Path) -> None:
    OverlayMap(MIB).create(f"{tmp_path}/o.map")
    with pytest.raises(BackstoreError, match=r"o is missing, but its map"):
        opened(f"file+cow:{base},cow.file={tmp_path}/o")
    assert not (tmp_path / "o").exists()


def test_a_read_only_disk_changes_neither_file(opened: Opened, base: Path, tmp_path: Path) -> None:
    spec = f"file+cow:{base},cow.file={tmp_path}/o"
    with pytest.raises(BackstoreError, match="does not exist"):
        opened(spec, read_only=True)
    assert not (tmp_path / "o").exists()
    OverlayMap(MIB).create(f"{tmp_path}/o.map")
    (tmp_path / "o").touch()
    os.truncate(tmp_path / "o", MIB)
    store = opened(spec, read_only=True)
    assert store.capabilities.read_only
    for change in (lambda: store.write(0, memoryview(bytes(512))), lambda: store.discard(0, 4096)):
        with pytest.raises(OSError, match="reading only"):
            change()
    store.flush()


def test_neither_size_nor_odd_blocks(opened: Opened, base: Path) -> None:
    with pytest.raises(BackstoreError, match="keeps the size"):
        opened(f"file+cow:{base}").resize(2 * MIB)
    with pytest.raises(BackstoreError, match="has to divide 4096"):
        opened(f"file+cow:{base}", block_size=8192)


def test_runs_of_a_map_follow_its_bits() -> None:
    bits = OverlayMap(1 << 30)
    for first, count in ((0, 1), (7, 2), (31, 70), (65535, 2)):
        bits.add(first, count)
    assert list(bits.runs(0, 110)) == [
        (0, 1, True), (1, 6, False), (7, 2, True), (9, 22, False), (31, 70, True), (101, 9, False),
    ]  # fmt: skip
    assert list(bits.runs(40, 5)) == [(40, 5, True)]
    assert sorted(bits.take_changes()) == [0, 1, 2]
    bits.add(31, 70)
    assert bits.take_changes() == {}


def test_a_run_ends_with_its_page_of_bits() -> None:
    """So that a step of a large disk's GET LBA STATUS does not shift a number of millions of bits."""
    bits = OverlayMap(1 << 40)
    per_page = 8 * 4096
    bits.add(per_page - 1, 3)
    runs = bits.runs(5, (1 << 28) - 5)
    assert [next(runs) for _ in range(4)] == [
        (5, per_page - 6, False), (per_page - 1, 1, True), (per_page, 2, True), (per_page + 2, per_page - 2, False),
    ]  # fmt: skip
    bits = OverlayMap(3 * per_page * 4096)
    assert list(bits.runs(0, 3 * per_page)) == [(n * per_page, per_page, False) for n in range(3)]


def test_reads_of_one_store_need_no_thread(opened: Opened, base: Path) -> None:
    store = opened(f"file+cow:{base}")
    buffer = memoryview(bytearray(8192))
    read(store, 0, MIB)
    assert store.try_write(4096, memoryview(b"n" * 4096))
    assert store.try_read_into(4096, buffer[:4096])
    assert buffer[:4096] == b"n" * 4096
    assert not store.try_read_into(0, buffer)
    assert not store.try_write(512, memoryview(bytes(512)))
