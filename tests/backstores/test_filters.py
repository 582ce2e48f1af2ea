from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores.base import Allocation, Backstore, Filter, MediumError
from iscsitools.backstores.filters.watching import WatchingFilter
from iscsitools.backstores.ram import RamBackstore

from .conftest import read

Opened = Callable[..., Backstore]
ZEROS = memoryview(bytes(4096))


class Mirror(Filter):
    """A filter that changes bytes and knows nothing of discards: what third parties write first."""

    kind = "mirror"

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(offset, buffer)
        buffer[:] = bytes(b ^ 0xFF for b in buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        self.inner.write(offset, memoryview(bytes(b ^ 0xFF for b in buffer)))


@pytest.mark.parametrize("call", ["discard", "write_zeroes"])
def test_no_call_goes_round_a_filter_that_changes_bytes(call: str) -> None:
    store = Mirror(RamBackstore("1M"))
    store.open()
    getattr(store, call)(0, 4096)
    assert read(store, 0, 4096) == bytes(4096)
    assert [e.state for e in store.extents(4096, 4096)] == [Allocation.MAPPED]
    store.write_through(0, memoryview(b"abcd" * 128))
    assert read(store.inner, 0, 4) == bytes(b ^ 0xFF for b in b"abcd")
    buffer = memoryview(bytearray(512))
    assert store.try_read_into(0, buffer)
    assert buffer == b"abcd" * 128
    assert store.try_write(0, ZEROS)
    assert read(store.inner, 0, 4) == b"\xff" * 4
    store.close()


class Passing(Filter):
    """Changes nothing, and says so in its body."""

    kind = "passing"
    passes_reads = True
    passes_writes = True

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        self.inner.write(offset, buffer)


class Child(Passing):
    kind = "child"


class Mixin:
    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise NotImplementedError  # only looked for, never called


class Mixed(Mixin, Filter):
    kind = "mixed"


def test_a_class_says_itself_what_it_passes_on() -> None:
    for cls, reads, writes in (
        (Passing, True, True),
        (Child, True, True),
        (Mirror, False, False),
        (Mixed, False, True),
    ):
        assert (cls.passes_reads, cls.passes_writes) == (reads, writes), cls

    class Grandchild(Child):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            buffer[:] = bytes(len(buffer))

    assert (Grandchild.passes_reads, Grandchild.passes_writes) == (False, True)
    ram = RamBackstore("1M")
    store = Passing(ram)
    store.open()
    store.write_zeroes(0, 1 << 20)
    store.discard(0, 1 << 20)
    assert [e.state for e in store.extents(0, 1 << 20)] == [Allocation.HOLE]
    store.close()


def test_what_blocks_below_blocks_above_whenever_that_changes() -> None:
    ram = RamBackstore("1M")
    outer = Passing(Passing(ram))
    assert not outer.blocking
    outer.inner.blocking = True
    assert outer.blocking
    outer.blocking = False
    assert not outer.blocking


def test_a_filter_that_watches_sees_each_call_once_and_is_in_nobodys_way(opened: Opened, tmp_path: Path) -> None:
    class Watch(WatchingFilter):
        kind = "watch"

        def __init__(self, inner: Backstore) -> None:
            super().__init__(inner)
            self.seen: list[tuple[str, int, int]] = []

        def watch(self, call: str, offset: int, length: int) -> None:
            self.seen.append((call, offset, length))

    file = opened(f"file:{tmp_path}/disk,size=1M")
    store = Watch(file)
    assert store.own_identity == file.own_identity
    buffer = memoryview(bytearray(4096))
    file.read_into(0, memoryview(bytearray(1 << 20)))
    for expected, call in (
        (("read_into", 0, 4096), lambda: store.read_into(0, buffer)),
        (("read_into", 0, 4096), lambda: store.try_read_into(0, buffer)),
        (("write", 0, 4096), lambda: store.write(0, buffer)),
        (("write", 0, 4096), lambda: store.try_write(0, buffer)),
        (("write_through", 512, 4096), lambda: store.write_through(512, buffer)),
        (("discard", 0, 8192), lambda: store.discard(0, 8192)),
        (("write_zeroes", 0, 8192), lambda: store.write_zeroes(0, 8192)),
        (("flush", 0, 0), store.flush),
    ):
        assert call() in (None, True)
        assert store.seen.pop() == expected
        assert not store.seen
    store.resize(2 << 20)
    assert not store.try_read_into(2 << 20, buffer)
    assert not store.seen


def test_readonly_refuses_every_change(opened: Opened) -> None:
    store = opened("ram+readonly:1M")
    assert store.capabilities.read_only
    assert not store.capabilities.volatile_cache
    for call in (store.write, store.write_through, store.try_write):
        with pytest.raises(OSError, match="readonly") as caught:
            call(0, ZEROS)
        assert caught.value.errno == errno.EROFS
    for change in (store.discard, store.write_zeroes):
        with pytest.raises(OSError, match="readonly"):
            change(0, 4096)
    with pytest.raises(OSError, match="readonly"):
        store.resize(4096)
    assert read(store, 0, 512) == bytes(512)


def test_delay_waits_for_the_calls_it_names(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    store = opened("ram+delay:1M,delay.read=5ms,delay.write=2s,delay.flush=1s")
    buffer = memoryview(bytearray(512))
    assert store.blocking
    assert not store.try_read_into(0, buffer)
    assert not store.try_write(0, ZEROS)
    for call, expected in (
        (lambda: store.read_into(0, buffer), 0.005),
        (lambda: store.write(0, ZEROS), 2.0),
        (lambda: store.discard(0, 4096), 2.0),
        (lambda: store.write_zeroes(0, 4096), 2.0),
        (store.flush, 1.0),
        (lambda: store.write_through(0, ZEROS), 3.0),
    ):
        call()
        assert waited == [expected]
        waited.clear()


def test_delay_waits_for_what_is_moved(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    store = opened("ram+delay:4M,delay.per_mib=1s,delay.write=2s,delay.flush=4s")
    buffer = memoryview(bytearray(512 << 10))
    store.write(0, buffer)
    store.write_through(0, memoryview(bytes(2 << 20)))
    store.discard(0, 1 << 20)
    store.write_zeroes(0, 1 << 20)
    store.flush()
    assert waited == [2.5, 8.0, 2.0, 2.0, 4.0]
    assert store.try_read_into(0, buffer)
    assert not store.try_write(0, ZEROS)


def test_delay_of_writes_leaves_reads_on_the_loop(opened: Opened) -> None:
    store = opened("ram+delay:1M,delay.write=1us")
    assert store.try_read_into(0, memoryview(bytearray(512)))
    assert not store.try_write(0, ZEROS)
    assert not opened("ram+delay:1M").blocking


def test_error_rates_are_shares_and_repeat_by_seed(opened: Opened) -> None:
    def failures(seed: int) -> list[bool]:
        store = opened(f"ram+error:1M,error.read=10%,error.seed={seed}")
        outcomes = []
        for _ in range(2000):
            try:
                read(store, 0, 512)
                outcomes.append(False)
            except MediumError:
                outcomes.append(True)
        return outcomes

    first = failures(1)
    assert 100 < sum(first) < 320
    assert failures(1) == first
    assert failures(2) != first


def test_error_range_fails_what_touches_it_and_names_the_byte(opened: Opened) -> None:
    store = opened("ram+error:1M,error.range=8K+512/64K+4K")
    store.write(0, memoryview(bytes(8192)))
    for call in (
        lambda: store.write(4096, memoryview(bytes(8192))),
        lambda: read(store, 0, 16384),
        lambda: store.discard(0, 16384),
        lambda: store.write_zeroes(8192, 512),
        lambda: store.write_through(8192, memoryview(bytes(512))),
        lambda: store.try_read_into(8192, memoryview(bytearray(512))),
        lambda: store.try_write(8192, memoryview(bytearray(512))),
    ):
        with pytest.raises(MediumError) as caught:
            call()
        assert caught.value.offset == 8192
    with pytest.raises(MediumError) as caught:
        read(store, 60 << 10, 8192)
    assert caught.value.offset == 64 << 10
    read(store, 8704, 4096)
    store.flush()


def test_error_range_with_one_rate_leaves_the_other_direction(opened: Opened) -> None:
    store = opened("ram+error:1M,error.range=0+4K,error.write=1")
    read(store, 0, 4096)
    with pytest.raises(MediumError):
        store.write(0, ZEROS)


def test_error_number_is_the_one_asked_for(opened: Opened) -> None:
    store = opened("ram+error:1M,error.write=1,error.flush=1,error.errno=ENOSPC")
    for call in (lambda: store.write(0, ZEROS), store.flush):
        with pytest.raises(OSError, match="No space") as caught:
            call()
        assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("spec", ["null:1M", "ram:1M", "ram+cow:1M"])
def test_a_store_that_was_asked_to_be_read_only_refuses(opened: Opened, spec: str) -> None:
    store = opened(spec, read_only=True)
    assert store.capabilities.read_only
    for call in (store.write, store.write_through, store.try_write):
        with pytest.raises(OSError, match=r"ead-only|reading only"):
            call(0, ZEROS)
    for change in (store.discard, store.write_zeroes):
        with pytest.raises(OSError, match=r"ead-only|reading only"):
            change(0, 4096)
    assert read(store, 0, 4096) == bytes(4096)


@pytest.mark.parametrize("kind", ["null", "ram"])
def test_memory_stores_change_their_size(opened: Opened, kind: str) -> None:
    store = opened(f"{kind}:4M")
    store.write(3 << 20, memoryview(b"x" * 4096))
    store.resize(2 << 20)
    store.resize(4 << 20)
    assert store.size == 4 << 20
    assert read(store, 3 << 20, 4096) == bytes(4096)
    assert store.identity == kind


def test_ram_gives_memory_back_and_finds_discards_of_terabytes_cheap(opened: Opened) -> None:
    store = opened("ram:4096T")
    store.write(5 << 40, memoryview(b"x" * 4096))
    assert [e.state for e in store.extents(5 << 40, 4096)] == [Allocation.MAPPED]
    store.discard(0, 4096 << 40)
    assert [e.state for e in store.extents(5 << 40, 4096)] == [Allocation.HOLE]
    with pytest.raises(MediumError):
        read(store, (4096 << 40) - 512, 1024)
