"""The file backstore: opening and the lock, reads, holes, sizes, block devices."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores import file as file_module
from iscsitools.backstores.base import Allocation, Backstore, BackstoreError, MediumError
from iscsitools.backstores.syscalls import RWF_NOWAIT

from .conftest import MIB, on_disk, read

Opened = Callable[..., Backstore]

on_linux = pytest.mark.skipif(not RWF_NOWAIT, reason="RWF_NOWAIT is Linux's")


def test_size_makes_a_sparse_file(opened: Opened, tmp_path: Path) -> None:
    store = opened(f"file:{tmp_path}/new.img,size=8G")
    assert store.size == 8 << 30
    status = os.stat(tmp_path / "new.img")
    assert status.st_blocks * 512 < MIB
    assert status.st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("file:{dir}/missing.img", "does not exist; add size=SIZE"),
        ("file:{dir}/no/where.img,size=1M", "No such file or directory"),
        ("file:{dir}", "neither a file nor a block device"),
        ("file:{dir}/empty.img", "is empty; add size=SIZE"),
        ("file:{dir}/disk.img,size=512K", "has 1048576 bytes already, more than size=524288"),
        ("file+readonly:{dir}/disk.img,size=2M", "cannot be grown"),
        (
            "file+readonly:{dir}/missing.img,size=2M",
            "a file that is only read (readonly=yes, or under cow) is not made",
        ),
        ("file:", "a path has to follow"),
        ("file:{dir}/disk.img,size=0", "is not more than 0"),
        ("file:/dev/null", "neither a file nor a block device"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(opened: Opened, disk: Path, spec: str, complaint: str) -> None:
    (disk.parent / "empty.img").touch()
    with pytest.raises(BackstoreError) as caught:
        opened(spec.format(dir=disk.parent))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert disk.stat().st_size == MIB


def test_links_that_lead_nowhere_are_called_that(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for spec, complaint in (
        ("dangling", f"dangling is a symbolic link to {tmp_path}/gone, which does not exist"),
        ("dangling,size=1M", f"dangling is a symbolic link to {tmp_path}/gone, which does not exist"),
        ("a", "a: its symbolic links go round in a circle"),
        ("a,size=1M", "a: its symbolic links go round in a circle"),
    ):
        with pytest.raises(BackstoreError, match=f"{re.escape(complaint)}$"):
            opened(f"file:{tmp_path}/{spec}")


def test_a_file_that_was_deleted_is_told_at_the_end(
    opened: Opened, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(f"file:{disk}")
    disk.unlink()
    store.write(0, memoryview(bytes(512)))
    store.close()
    assert f"{disk} has been deleted while it was served" in caplog.text


def test_size_grows_a_file_and_keeps_its_bytes(opened: Opened, disk: Path) -> None:
    before = disk.read_bytes()
    store = opened(f"file:{disk},size=3M")
    assert read(store, 0, 3 * MIB) == before + bytes(2 * MIB)


def test_a_second_writer_is_refused_by_name(opened: Opened, disk: Path) -> None:
    opened(f"file:{disk}")
    for spec in (f"file:{disk}", f"file+readonly:{disk}"):
        with pytest.raises(BackstoreError, match=r"disk\.img is in use by another"):
            opened(spec)


def test_readers_share_a_file_and_keep_writers_out(opened: Opened, disk: Path) -> None:
    opened(f"file:{disk}", read_only=True)
    opened(f"file:{disk}", read_only=True)
    with pytest.raises(BackstoreError, match="readonly=yes can share it"):
        opened(f"file:{disk}")


def test_a_failed_open_leaves_no_lock(opened: Opened, disk: Path) -> None:
    with pytest.raises(BackstoreError):
        opened(f"file:{disk},size=512K")
    opened(f"file:{disk}")


def test_read_only_changes_nothing(opened: Opened, disk: Path) -> None:
    before = disk.read_bytes()
    store = opened(f"file:{disk}", read_only=True)
    assert store.capabilities.read_only
    assert not store.capabilities.volatile_cache
    assert not store.try_write(0, memoryview(bytes(4096)))
    for call in (store.write, store.write_through):
        with pytest.raises(OSError, match="reading only"):
            call(0, memoryview(bytes(512)))
    for change in (store.discard, store.write_zeroes):
        with pytest.raises(OSError, match="reading only"):
            change(0, 4096)
    store.flush()
    assert disk.read_bytes() == before


def test_a_file_cut_short_is_a_medium_error_at_its_end(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    os.truncate(disk, 4096 + 512)
    buffer = memoryview(bytearray(8192))
    assert not store.try_read_into(0, buffer)
    with pytest.raises(MediumError) as caught:
        store.read_into(0, buffer)
    assert caught.value.offset == 4096 + 512
    assert store.size == 4096 + 512


def test_discard_punches_a_hole(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    if not store.capabilities.thin:
        pytest.skip("the temporary directory's file system has no holes")
    store.discard(64 << 10, 512 << 10)
    store.flush()
    assert disk.stat().st_blocks * 512 <= MIB - (512 << 10) + 4096
    assert [(e.offset, e.length, e.state) for e in store.extents(0, MIB)] == [
        (0, 64 << 10, Allocation.MAPPED),
        (64 << 10, 512 << 10, Allocation.HOLE),
        (576 << 10, 448 << 10, Allocation.MAPPED),
    ]


def test_zeros_are_written_where_the_file_system_cannot(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(f"file:{disk}")
    monkeypatch.setattr("iscsitools.backstores.holes._fallocate", None)
    before = disk.read_bytes()
    store.discard(512, 8192)
    store.write_zeroes(512 << 10, 4096)
    assert read(store, 0, MIB) == (
        before[:512] + bytes(8192) + before[8704 : 512 << 10] + bytes(4096) + before[(512 << 10) + 4096 :]
    )


@pytest.mark.parametrize("change", ["write", "write_through", "discard", "write_zeroes", "try_write"])
def test_a_file_that_somebody_cut_is_not_made_longer_again(opened: Opened, disk: Path, change: str) -> None:
    store = opened(f"file:{disk}")
    os.truncate(disk, 8192)
    for offset in (4096, 65536):
        data = memoryview(b"n" * 8192)
        if change == "try_write":
            assert not store.try_write(offset, data)
            continue
        how = 8192 if change in ("discard", "write_zeroes") else data
        with pytest.raises(MediumError, match="somebody has cut it") as caught:
            getattr(store, change)(offset, how)
        assert caught.value.offset == max(8192, offset)
    assert disk.stat().st_size == 8192
    assert store.try_write(4096, memoryview(b"n" * 4096))
    store.resize(65536)
    store.write(8192, memoryview(b"n" * 4096))
    assert read(store, 4096, 8192) == b"n" * 8192


def test_direct_moves_bytes_of_buffers_that_lie_anywhere(opened: Opened, disk: Path) -> None:
    on_disk(disk)
    store = opened(f"file:{disk},direct=yes", block_size=4096)
    data = memoryview(bytearray(os.urandom((2 << 20) + 1)))[1:]
    store.resize(4 << 20)
    store.write(4096, data)
    assert not store.try_read_into(4096, memoryview(bytearray(4096)))
    assert not store.try_write(4096, memoryview(bytes(4096)))
    assert store.capabilities.volatile_cache
    assert read(store, 4096, len(data)) == data
    threads = [
        threading.Thread(target=store.write_through, args=(i * 65536, memoryview(bytes([i]) * 65536))) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert disk.read_bytes()[: 8 * 65536] == b"".join(bytes([i]) * 65536 for i in range(8))


@pytest.mark.parametrize("alignment", [4096, 0], ids=["too large", "unknown"])
def test_direct_refuses_a_block_size_that_the_device_cannot_do(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch, alignment: int
) -> None:
    on_disk(disk)
    monkeypatch.setattr(file_module, "direct_alignment", lambda fd: alignment)
    with pytest.raises(BackstoreError, match="direct=yes needs block_size=4096 here"):
        opened(f"file:{disk},direct=yes")


def test_resize_changes_the_file(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    store.resize(2 * MIB)
    assert disk.stat().st_size == store.size == 2 * MIB


def test_the_lock_is_flock_so_that_other_programs_can_test_it(opened: Opened, disk: Path) -> None:
    opened(f"file:{disk}")
    with open(disk, "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_file_is_copied_from_without_its_bytes_passing_through(opened: Opened, tmp_path: Path) -> None:
    content = os.urandom(256 << 10)
    (tmp_path / "one.img").write_bytes(content)
    one, other = opened(f"file:{tmp_path}/one.img"), opened(f"file:{tmp_path}/other.img,size=1M")
    source = one.clone_source()
    assert source is not None
    one.close()  # what is copied from stays open by itself
    assert other.clone_from(source, 4096, 8192, 128 << 10)
    assert other.unflushed
    found = bytearray(128 << 10)
    other.read_into(8192, memoryview(found))
    assert found == content[4096 : 4096 + len(found)]
    assert not other.clone_from(source, 252 << 10, 0, 8192), "the source has no such bytes"
    own = other.clone_source()
    assert own is not None
    assert not other.clone_from(own, 8192, 8192 + 4096, 8192), "the ranges overlap"
    assert other.clone_from(own, 8192, 512 << 10, 8192)
    with pytest.raises(MediumError):
        other.clone_from(own, 0, (1 << 20) - 4096, 8192)
    own.close()
    source.close()
