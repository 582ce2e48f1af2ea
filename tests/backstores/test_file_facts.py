"""What the file backstore says of itself, and what is true of it while it changes and when it is closed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from iscsitools.backstores import file as file_module
from iscsitools.backstores.base import Backstore, BackstoreError, MediumError, Space
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.file_clone import FileClone
from iscsitools.backstores.file_open import OpenFile
from iscsitools.backstores.syscalls import RWF_DSYNC

from .conftest import MIB, on_disk

Opened = Callable[..., Backstore]


def test_a_file_wishes_for_no_sizes_of_its_own(opened: Opened, disk: Path) -> None:
    told = opened(f"file:{disk}").capabilities
    assert (told.read_only, told.volatile_cache, told.rotational) == (False, True, False)
    assert (told.physical_block_size, told.optimal_io_size) == (0, 0)


def test_it_says_what_it_takes_and_what_is_left_for_it(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(f"file:{tmp_path}/sparse.img,size=1M")
    store.write(0, memoryview(b"x" * 65536))
    store.flush()
    taken = os.stat(tmp_path / "sparse.img").st_blocks * 512
    assert 65536 <= taken < MIB
    assert store.allocated == taken
    monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_bavail=10, f_frsize=4096, f_bsize=7))
    assert store.space() == Space(taken, 40960)


def test_a_file_that_is_only_read_keeps_its_length(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}", read_only=True)
    with pytest.raises(BackstoreError, match="cannot be resized"):
        store.resize(2 * MIB)
    assert disk.stat().st_size == MIB


def test_past_the_page_cache_nothing_is_copied_within_the_kernel(opened: Opened, disk: Path) -> None:
    assert opened(f"file:{disk}").clone_source() is not None
    on_disk(disk)
    (disk.parent / "other.img").write_bytes(bytes(MIB))
    assert opened(f"file:{disk.parent}/other.img,direct=yes").clone_source() is None


@pytest.mark.parametrize("change", ["discard", "write_zeroes", "write"])
def test_a_flush_that_ends_while_something_is_changed_does_not_cover_it(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    store = opened(f"file:{disk}")
    assert isinstance(store, FileBackstore)
    seen: list[bool] = []

    def changed_beside_a_flush(*_: object) -> bool:
        seen.append(store.unflushed)
        store.flush()
        return True

    for name in ("punch_hole", "zero_range", "write_fully"):
        monkeypatch.setattr(file_module, name, changed_beside_a_flush)
    store.flush()
    store.write(0, memoryview(bytes(4096))) if change == "write" else getattr(store, change)(0, 4096)
    assert seen == [True], "it is known before it is begun"
    assert store.unflushed


def test_a_flush_that_ends_while_something_is_copied_does_not_cover_it(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk.parent / "other.img").write_bytes(bytes(MIB))
    source, store = opened(f"file:{disk}").clone_source(), opened(f"file:{disk.parent}/other.img")
    assert isinstance(source, FileClone)
    seen: list[bool] = []

    def copied_beside_a_flush(*_: object) -> bool:
        seen.append(store.unflushed)
        store.flush()
        return True

    monkeypatch.setattr(FileClone, "copy_to", copied_beside_a_flush)
    store.flush()
    assert store.clone_from(source, 0, 0, 4096)
    assert seen == [True], "it is known before it is begun"
    assert store.unflushed


def test_the_last_bytes_are_written_and_none_beyond(opened: Opened, disk: Path) -> None:
    store, before = opened(f"file:{disk}"), disk.read_bytes()[:-512]
    store.write(MIB - 512, memoryview(b"z" * 512))
    assert disk.read_bytes() == before + b"z" * 512
    with pytest.raises(MediumError):
        store.write(MIB - 512, memoryview(b"y" * 1024))
    assert disk.read_bytes() == before + b"z" * 512


def test_its_identity_is_known_while_it_is_open(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenFile, "_find_identity", lambda *_: "an identity")
    store = FileBackstore(str(disk))
    assert store.own_identity == ""
    store.open()
    assert store.own_identity == "an identity"
    store.close()
    assert store.own_identity == ""


def test_a_closed_file_is_neither_read_nor_written_at_once(disk: Path) -> None:
    store = FileBackstore(str(disk))
    store.open()
    store.close()
    assert not store.try_read_into(0, memoryview(bytearray(512)))
    assert not store.try_write(0, memoryview(bytes(512)))
    store.close()


def test_a_file_that_is_only_read_is_not_thin(opened: Opened, disk: Path) -> None:
    assert not opened(f"file:{disk}", read_only=True).capabilities.thin


def test_a_new_length_is_not_durable_before_a_flush(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    store.flush()
    store.resize(2 * MIB)
    assert store.unflushed


def test_its_trouble_is_a_flush_that_failed(opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(f"file:{disk}")
    assert store.trouble == ""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store.write(0, memoryview(bytes(512)))
    with monkeypatch.context() as patch:
        patch.setattr(file_module, "sync_data", fail)
        with pytest.raises(OSError, match="Input/output error"):
            store.flush()
    assert store.trouble == "a flush failed (Input/output error): writes fail until it is opened again"


@pytest.mark.skipif(not RWF_DSYNC, reason="RWF_DSYNC is Linux's")
def test_a_durable_write_without_space_is_tried_once_more_as_a_plain_one(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(f"file:{disk}")
    flags: list[int] = []

    def full(fd: int, offset: int, buffer: memoryview, how: int) -> None:
        flags.append(how)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_module, "write_fully", full)
    with pytest.raises(OSError, match="No space left"):
        store.write_through(0, memoryview(bytes(512)))
    assert flags == [RWF_DSYNC, 0]


def test_past_the_page_cache_nothing_is_copied_into_it(opened: Opened, disk: Path) -> None:
    on_disk(disk)
    (disk.parent / "other.img").write_bytes(bytes(MIB))
    source = opened(f"file:{disk}").clone_source()
    other = opened(f"file:{disk.parent}/other.img,direct=yes")
    assert source is not None
    assert not other.clone_from(source, 0, 0, 65536)
