"""A file's mapping, from which a socket sends without anybody touching it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores import file as file_module
from iscsitools.backstores import file_at_once
from iscsitools.backstores.base import Backstore

from .conftest import read

Opened = Callable[..., Backstore]
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(MIB))
    return path


needs_mapping = pytest.mark.skipif(file_at_once._resident is None, reason="cachestat(2) is Linux's, from 6.5 on")


@needs_mapping
def test_a_view_for_the_kernel_is_of_this_moment(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    content = read(store, 0, MIB)
    near, far = socket.socketpair()
    with near, far:
        for offset, length in ((0, 65536), (MIB - 65536, 65536)):
            mapped = store.try_map(offset, length)
            assert mapped is not None
            assert len(mapped) == length
            assert near.send(mapped.view) == length
            mapped.release()
            assert far.recv(length, socket.MSG_WAITALL) == content[offset : offset + length]
        store.resize(2 * MIB)
        read(store, MIB, MIB)
        mapped = store.try_map(2 * MIB - 4096, 4096)
        assert mapped is not None
        assert near.send(mapped.view) == 4096
        assert far.recv(4096, socket.MSG_WAITALL) == bytes(4096)
        mapped.release()


@needs_mapping
def test_nobody_writes_to_a_view_before_it_is_released(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    assert isinstance(store, file_module.FileBackstore)
    read(store, 0, MIB)
    mapped = store.try_map(0, 65536)
    assert mapped is not None
    assert not store.try_write(4096, memoryview(b"n" * 4096))
    assert store.try_write(65536, memoryview(b"n" * 4096))
    done = threading.Event()
    writer = threading.Thread(target=lambda: (store.write(4096, memoryview(b"n" * 4096)), done.set()))
    writer.start()
    end = time.monotonic() + 30
    while not store._ranges.writers:  # until the writer waits
        assert time.monotonic() < end
        time.sleep(0.001)
    assert not done.is_set()
    assert store.try_map(4096, 4096) is None, "who waits is not overtaken"
    mapped.release()
    writer.join()
    assert read(store, 4096, 4096) == b"n" * 4096


@needs_mapping
def test_a_file_cut_under_a_view_is_an_error_of_the_send(opened: Opened, disk: Path) -> None:
    """And not the end of the process."""
    store = opened(f"file:{disk}")
    read(store, 0, MIB)
    mapped = store.try_map(0, 65536)
    assert mapped is not None
    os.truncate(disk, 0)
    near, far = socket.socketpair()
    with near, far, pytest.raises(OSError, match="Bad address"):
        near.send(mapped.view)
    mapped.release()
