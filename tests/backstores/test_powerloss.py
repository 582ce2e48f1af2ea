"""The powerloss filter against a model: what was flushed stays, and of the rest the chosen part goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters.powerloss import PowerlossFilter
from iscsitools.backstores.filters.unflushed import UnflushedLog
from iscsitools.backstores.ram import RamBackstore

from .conftest import read

Opened = Callable[..., Backstore]
BLOCK = 4096
BLOCKS = 64


def make() -> PowerlossFilter:
    store = PowerlossFilter(RamBackstore(str(BLOCKS * BLOCK)))
    store.block_size = BLOCK
    store.open()
    return store


def blocks(store: Backstore) -> list[bytes]:
    content = read(store, 0, BLOCKS * BLOCK)
    return [content[start : start + BLOCK] for start in range(0, len(content), BLOCK)]


def fill(value: int, count: int = 1) -> memoryview:
    return memoryview(bytes([value]) * BLOCK * count)


steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "write_through", "discard", "write_zeroes", "flush"]),
        st.integers(0, BLOCKS - 1), st.integers(1, 6), st.integers(1, 255),
    ),
    max_size=40,
)  # fmt: skip


@given(todo=steps, drop=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_each_block_is_as_it_was_flushed_or_as_it_was_written_last(
    todo: list[tuple[str, int, int, int]], drop: float, seed: int
) -> None:
    store = make()
    durable, now = [bytes(BLOCK)] * BLOCKS, [bytes(BLOCK)] * BLOCKS
    changed: set[int] = set()
    for call, first, count, value in todo:
        count = min(count, BLOCKS - first)
        touched = range(first, first + count)
        if call == "flush":
            store.flush()
            durable, changed = list(now), set()
            continue
        content = bytes(BLOCK) if call in ("discard", "write_zeroes") else bytes(fill(value))
        how = count * BLOCK if call in ("discard", "write_zeroes") else fill(value, count)
        getattr(store, call)(first * BLOCK, how)
        for block in touched:
            now[block] = content
            if call == "write_through":
                durable[block] = content
                changed.discard(block)
            else:
                changed.add(block)
    assert blocks(store) == now
    assert store.unflushed or not changed
    report = store.cut(drop, seed=seed)
    assert (report.unflushed, report.dropped, report.torn) == (len(changed), round(drop * len(changed)), 0)
    found = blocks(store)
    for block in range(BLOCKS):
        assert found[block] in (durable[block], now[block])
        if block not in changed or drop == 0:
            assert found[block] == now[block]
        elif drop == 1:
            assert found[block] == durable[block]
    assert store.cut(1.0).unflushed == 0, "what the cut has left is on the medium"
    store.close()


def test_a_torn_block_is_old_and_new_by_sectors() -> None:
    store = make()
    store.write(0, fill(1, BLOCKS))
    store.flush()
    store.write(0, fill(2, BLOCKS))
    report = store.cut(1.0, torn=True, seed=3)
    assert report.torn > 3
    assert report.dropped + report.torn == BLOCKS
    torn = [block for block in blocks(store) if len(set(block)) == 2]
    assert len(torn) == report.torn
    for block in torn:
        sectors = [block[at : at + 512] for at in range(0, BLOCK, 512)]
        assert {bytes(sector) for sector in sectors} == {b"\1" * 512, b"\2" * 512}
    again = make()
    again.write(0, fill(1, BLOCKS))
    again.flush()
    again.write(0, fill(2, BLOCKS))
    assert again.cut(1.0, torn=True, seed=3) == report
    assert blocks(again) == blocks(store)


def test_a_log_beyond_its_memory_is_in_a_file() -> None:
    log = UnflushedLog(BLOCK, memory=2 * BLOCK)
    for block in range(8):
        log.keep(block * BLOCK, fill(block + 1))
    log.keep_zeros(8 * BLOCK, 2 * BLOCK)
    assert log._file is not None
    report, back = log.cut(1.0, torn=False, seed=0)
    assert report.unflushed == 10
    assert back == [(n * BLOCK, bytes(fill(n + 1))) for n in range(8)] + [(n * BLOCK, bytes(BLOCK)) for n in (8, 9)]
    log.flushed()
    assert log._file is None
    assert len(log) == 0


def test_a_flush_that_fails_leaves_all_unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    store.write(0, fill(1, 2))
    store.flush()
    store.write(0, fill(2))

    def fail(self: RamBackstore) -> None:
        store.write(BLOCK, fill(3))  # while the flush is under way
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(RamBackstore, "flush", fail)
        with pytest.raises(OSError, match="Input/output error"):
            store.flush()
    assert store.cut(1.0).dropped == 2
    assert blocks(store)[:2] == [bytes(fill(1))] * 2


def test_a_write_during_a_flush_is_still_unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    store.write(0, fill(1))
    with monkeypatch.context() as patch:
        patch.setattr(RamBackstore, "flush", lambda self: store.write(0, fill(2)))
        store.flush()
    store.cut(1.0)
    assert blocks(store)[0] == bytes(fill(1))


def test_what_is_not_kept_is_not_slowed_down(opened: Opened, tmp_path: Path) -> None:
    store = opened(f"file+powerloss:{tmp_path}/disk,size=1M", block_size=BLOCK)
    assert isinstance(store, PowerlossFilter)
    assert store.capabilities.volatile_cache
    assert store.own_identity == store.inner.own_identity
    assert store.blocking
    read(store, 0, 1 << 20)
    assert store.try_read_into(0, memoryview(bytearray(BLOCK)))
    assert not store.try_write(0, fill(1))
    store.write(0, fill(1))
    store.configure({"keep": "no"})
    assert not store.try_write(0, fill(2)), "what was kept before has to be flushed first"
    store.write(0, fill(2))
    assert store.try_write(0, fill(3))
    assert store.cut(1.0).unflushed == 0
    assert read(store, 0, BLOCK) == bytes(fill(3))


def test_a_cut_is_durable_itself(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(f"file+powerloss:{tmp_path}/disk,size=1M", block_size=BLOCK)
    assert isinstance(store, PowerlossFilter)
    assert isinstance(store.inner, FileBackstore)
    store.write(0, fill(1))
    store.cut(1.0)
    assert not store.inner.unflushed
    assert Path(tmp_path, "disk").read_bytes()[:BLOCK] == bytes(BLOCK)


def test_a_cut_waits_for_writers_and_they_for_it() -> None:
    store = make()
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for value in range(1, 60):
                store.write(first * BLOCK, fill(value, 8))
                if value % 7 == 0:
                    store.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n * 8,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for seed in range(30):
        store.cut(0.5, torn=True, seed=seed)
    for thread in threads:
        thread.join()
    assert failures == []
    store.flush()
    assert store.cut(1.0).unflushed == 0
