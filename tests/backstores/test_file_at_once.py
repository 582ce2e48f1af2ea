"""What the file backstore does on the event loop: what the page cache has, and nothing that waits."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.in_memory import HAS_MEMORY, MEMORY

from iscsitools.backstores import file as file_module
from iscsitools.backstores import file_at_once
from iscsitools.backstores.base import Backstore, MediumError
from iscsitools.backstores.syscalls import RWF_NOWAIT, is_in_memory

from .conftest import MIB, drop_from_cache, on_disk, read

Opened = Callable[..., Backstore]

on_linux = pytest.mark.skipif(not RWF_NOWAIT, reason="RWF_NOWAIT is Linux's")


@on_linux
def test_try_read_reads_what_is_cached_and_nothing_else(opened: Opened, disk: Path) -> None:
    on_disk(disk)
    store = opened(f"file:{disk}")
    assert isinstance(store, file_module.FileBackstore)
    buffer = bytearray(8192)
    flags: list[int] = []

    def not_cached(fd: int, buffers: object, offset: int, how: int) -> int:
        flags.append(how)
        raise BlockingIOError(errno.EAGAIN, "it would block")

    assert not store.try_read_into(0, memoryview(buffer), not_cached)
    assert flags == [RWF_NOWAIT]
    drop_from_cache(disk)
    store.read_into(0, memoryview(buffer))
    buffer[:] = bytes(8192)
    assert store.try_read_into(0, memoryview(buffer))
    assert buffer == disk.read_bytes()[:8192]


@on_linux
def test_try_write_does_not_wait_for_a_page_to_be_read(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel starts to read a page that it does not have, and a fast disk has it at once: so that is played."""
    on_disk(disk)
    store = opened(f"file:{disk}")
    asked: list[int] = []

    def not_cached(fd: int, buffers: object, offset: int, flags: int = 0) -> int:
        asked.append(offset)
        raise BlockingIOError(errno.EAGAIN, "it would block")

    monkeypatch.setattr(os, "preadv", not_cached)
    assert store.try_write(8192, memoryview(b"a" * 4096))  # whole pages need no reading
    assert not asked
    assert not store.try_write(16384 + 512, memoryview(b"b" * 512))
    assert not store.try_write(16384, memoryview(b"b" * 512))
    assert not store.try_write(16384 + 512, memoryview(b"b" * 3584))
    assert asked == [16384] * 3
    monkeypatch.undo()
    read(store, 16384, 4096)
    assert store.try_write(16384 + 512, memoryview(b"b" * 512))
    assert read(store, 16384 + 512, 512) == b"b" * 512
    assert read(store, 8192, 4096) == b"a" * 4096


def test_after_a_slow_write_the_loop_is_spared_for_a_while_and_longer_when_it_stays_slow(
    disk: Path, no_write_is_slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_at_once, "_SLOW_NS", no_write_is_slow)
    store = file_module.FileBackstore(str(disk))
    store.open()
    now = [10**12]

    def slow_write(fd: int, data: memoryview, offset: int) -> int:
        now[0] += 30_000_000
        return os.pwrite(fd, data, offset)

    def attempt() -> bool:
        return store.try_write(0, memoryview(bytes(4096)), slow_write, lambda: now[0])

    for pause in (50_000_000, 100_000_000, 200_000_000):
        assert attempt()
        assert not attempt()
        now[0] += pause - 1_000_000
        assert not attempt()
        now[0] += 2_000_000
    now[0] += 5_000_000_000
    assert attempt()
    now[0] += 51_000_000  # it had been fast for long: the pause is short again
    assert attempt()
    store.close()


def test_a_partial_write_is_completed(disk: Path) -> None:
    store = file_module.FileBackstore(str(disk))
    store.open()
    data = os.urandom(8192)
    assert store.try_write(4096, memoryview(data), lambda fd, part, at: os.pwrite(fd, part[:1000], at))
    assert read(store, 4096, 8192) == data
    store.close()


@pytest.mark.parametrize("length", [512, 4096, 256 << 10, 512 << 10])
def test_no_form_of_read_goes_beyond_the_end_of_a_cut_file(opened: Opened, disk: Path, length: int) -> None:
    store = opened(f"file:{disk}")
    read(store, 0, MIB)
    os.truncate(disk, length - 100)
    assert not store.try_read_into(0, memoryview(bytearray(length)))
    with pytest.raises(MediumError) as caught:
        read(store, 0, length)
    assert caught.value.offset == length - 100


@on_linux
def test_where_the_file_system_knows_no_reads_that_wait_for_nothing(opened: Opened, disk: Path) -> None:
    on_disk(disk)
    store = opened(f"file:{disk}")
    assert isinstance(store, file_module.FileBackstore)
    asked: list[int] = []

    def refuse(number: int) -> Callable[..., int]:
        def preadv(fd: int, buffers: object, offset: int, how: int) -> int:
            asked.append(how)
            raise OSError(number, os.strerror(number))

        return preadv

    buffer = memoryview(bytearray(512))
    with pytest.raises(OSError, match="Input/output"):
        store.try_read_into(0, buffer, refuse(errno.EIO))
    assert not store.try_read_into(0, buffer, refuse(errno.EOPNOTSUPP))
    assert not store.try_read_into(0, buffer, refuse(errno.EIO)), "it is not asked again"
    assert asked == [RWF_NOWAIT] * 2
    assert store.try_write(0, memoryview(bytes(4096))), "whole pages need no reading"
    assert not store.try_write(512, memoryview(bytes(512))), "nobody can tell whether the page is there"


def test_a_file_in_memory_never_waits(opened: Opened, tmp_path: Path) -> None:
    if not HAS_MEMORY:
        pytest.skip("/dev/shm cannot be written")
    with tempfile.NamedTemporaryFile(dir=MEMORY) as file:
        file.truncate(MIB)
        if not is_in_memory(file.fileno()):
            pytest.skip(f"{MEMORY} is not in memory")
        store = opened(f"file:{file.name}")
        assert store.try_write(512, memoryview(b"a" * 512))
        buffer = bytearray(1024)
        assert store.try_read_into(0, memoryview(buffer))
        assert buffer == bytes(512) + b"a" * 512


def test_a_fast_write_spares_the_loop_nothing(
    disk: Path, no_write_is_slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_at_once, "_SLOW_NS", no_write_is_slow)
    store = file_module.FileBackstore(str(disk))
    store.open()
    now = 10**12
    assert [store.try_write(0, memoryview(bytes(4096)), os.pwrite, lambda: now) for _ in range(3)] == [True] * 3
    store.close()


def test_no_write_makes_a_file_longer_by_a_byte(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    os.truncate(disk, MIB - 1)
    assert not store.try_write(MIB - 4096, memoryview(bytes(4096)))
    assert disk.stat().st_size == MIB - 1
