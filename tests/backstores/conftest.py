from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iscsitools.backstores import file_at_once
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.backstores.syscalls import is_in_memory
from iscsitools.plugins import PluginManager

MIB = 1 << 20


@pytest.fixture(autouse=True)
def no_write_is_slow(monkeypatch: pytest.MonkeyPatch) -> int:
    """How long a write takes says something of the machine: here none makes ``file`` spare the loop the next ones.

    Returns what counts as slow otherwise, in nanoseconds, for the test of that.
    """
    slow = file_at_once._SLOW_NS
    monkeypatch.setattr(file_at_once, "_SLOW_NS", 1 << 62)
    return slow


@pytest.fixture(scope="session")
def manager() -> PluginManager:
    manager = PluginManager()
    manager.load()
    return manager


@pytest.fixture
def opened(manager: PluginManager) -> Iterator[Callable[..., Backstore]]:
    """Make and open a stack from a spec; what is still open at the test's end is closed."""
    stores: list[Backstore] = []

    def open_spec(text: str, read_only: bool = False, block_size: int = 512) -> Backstore:
        store = build(parse_spec(text), manager.registry)
        store.block_size, store.read_only = block_size, read_only
        store.open()
        stores.append(store)
        return store

    yield open_spec
    for store in stores:
        store.close()


def read(store: Backstore, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    store.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def drop_from_cache(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def on_disk(path: Path) -> None:
    with open(path, "rb") as file:
        if is_in_memory(file.fileno()):
            pytest.skip("the temporary directory is in memory")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(MIB))
    return path
