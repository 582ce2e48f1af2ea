"""What ``file`` offers to a data path in C and to data threads, and what of it is left when it is closed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.native import needs_ring

from iscsitools.backstores import shortcut
from iscsitools.backstores.asynchronous import read_request, write_request
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.shortcut import FD, OWN_FDS, READ_FLAGS, THREAD_FILES, Shortcut

from .conftest import on_disk

Opened = Callable[..., Backstore]


class Changed(FileBackstore):
    """A class of somebody's that derives from it, and may read other bytes."""


@pytest.fixture
def shared() -> Iterator[Callable[[int], None]]:
    """Have so many data threads; each call of theirs has ended."""
    yield lambda threads: shortcut.share(lambda: None, threads)
    shortcut.share(None)


def file_of(store: Backstore) -> FileBackstore:
    assert isinstance(store, FileBackstore)
    return store


def offer(store: Backstore) -> Shortcut:
    found = file_of(store).shortcut()
    assert found is not None
    return found


def apart(words: object) -> list[int]:
    return list(words[OWN_FDS : OWN_FDS + THREAD_FILES])  # type: ignore[index]


def test_a_file_offers_its_descriptor_and_its_ring(opened: Opened, disk: Path) -> None:
    needs_ring()
    store = file_of(opened(f"file:{disk}"))
    found = offer(store)
    assert (found.kind, found.words[FD]) == ("file", store._fd)
    assert found.ring is not None


def test_what_a_data_path_began_may_end_as_a_request(opened: Opened, disk: Path) -> None:
    store, told = opened(f"file:{disk}"), []
    found = offer(store)
    assert found.ended is not None
    store.flush()
    request = write_request(0, memoryview(bytes(512)))
    request.begin(lambda *ended: told.append(ended))
    found.ended(request, 512)
    assert told == [(request, None)]
    assert file_of(store).unflushed, "a flush may have begun and ended meanwhile"


def test_a_class_that_derives_from_it_offers_nothing(disk: Path) -> None:
    store = Changed(str(disk))
    store.open()
    assert store.shortcut() is None
    assert not store.asynchronous
    store.close()


def test_past_the_page_cache_only_a_ring_is_offered(opened: Opened, disk: Path) -> None:
    needs_ring()
    on_disk(disk)
    store = file_of(opened(f"file:{disk},direct=yes"))
    assert offer(store).ring is not None
    assert store._calls is not None
    store._calls.close(store.durability.witness)
    store._calls = None
    assert store.shortcut() is None


def test_without_a_ring_the_page_cache_is_offered_all_the_same(opened: Opened, disk: Path) -> None:
    store = file_of(opened(f"file:{disk}"))
    assert store._calls is not None
    store._calls.close(store.durability.witness)
    store._calls = None
    assert not store.asynchronous
    assert offer(store).ring is None


def test_without_data_threads_nothing_is_opened_for_them(opened: Opened, disk: Path) -> None:
    assert apart(offer(opened(f"file:{disk}")).words) == [-1] * THREAD_FILES


def test_each_data_thread_gets_the_file_opened_once_more(
    opened: Opened, disk: Path, shared: Callable[[int], None]
) -> None:
    shared(3)
    store = file_of(opened(f"file:{disk}"))
    words = offer(store).words
    fds = apart(words)
    assert fds[3:] == [-1] * (THREAD_FILES - 3)
    assert len({*fds[:3], store._fd}) == 4
    assert all(os.path.samestat(os.fstat(fd), os.stat(disk)) for fd in fds[:3])
    assert apart(offer(store).words) == fds, "once, however often it is asked for"
    store.close()
    assert words[FD] == -1
    assert apart(words) == [-1] * THREAD_FILES
    for fd in fds[:3]:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_file_in_memory_is_opened_for_them_too(tmp_path: Path, shared: Callable[[int], None]) -> None:
    shared(1)
    with open(os.memfd_create("disk"), "wb") as memory:
        memory.truncate(1 << 20)
        store = FileBackstore(f"/proc/self/fd/{memory.fileno()}")
        store.open()
        words = offer(store).words
        assert words[READ_FLAGS] == 0
        assert apart(words)[0] >= 0
        store.close()


def test_past_the_page_cache_nothing_is_opened_for_them(
    opened: Opened, disk: Path, shared: Callable[[int], None]
) -> None:
    needs_ring()
    on_disk(disk)
    shared(2)
    assert apart(offer(opened(f"file:{disk},direct=yes")).words) == [-1] * THREAD_FILES


def test_a_closed_file_has_no_ring_to_ask(opened: Opened, disk: Path) -> None:
    needs_ring()
    store = opened(f"file:{disk}")
    assert store.asynchronous
    assert store.completion_fd >= 0
    request = read_request(0, memoryview(bytearray(512)))
    assert not store.cancel(request), "it completes all the same"
    store.close()
    assert store.completion_fd == -1
    assert not store.asynchronous
    assert not store.cancel(request)
    store.reap()
