"""Calls on different blocks at the same time do not disturb each other, whatever they share below."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores.base import Backstore

from .conftest import read

WRITERS = 6
BLOCKS = 480  # a multiple of WRITERS; neighbours in a granule belong to different writers
BLOCK = 512


@pytest.mark.parametrize(
    "spec",
    [
        "file:{dir}/disk,size=240K",
        "file+cow:{dir}/base,size=240K,cow.file={dir}/overlay",
        "ram+cow:240K",
        "ram+powerloss:240K",
        "ram+delay:240K,delay.flush=1us",
    ],
)
def test_no_write_is_lost(opened: Callable[..., Backstore], tmp_path: Path, spec: str) -> None:
    if "base" in spec:
        (tmp_path / "base").write_bytes(bytes(BLOCKS * BLOCK))
    store = opened(spec.format(dir=tmp_path))
    content = bytearray(BLOCKS * BLOCK)
    finished = threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        return run

    def writer(number: int) -> Callable[[], None]:
        def work() -> None:
            numbers = random.Random(number)
            for _ in range(300):
                offset = (numbers.randrange(BLOCKS // WRITERS) * WRITERS + number) * BLOCK
                data = bytes([numbers.randrange(256)]) * BLOCK
                call = numbers.choice(("write", "write", "write_through", "try_write", "discard"))
                if call == "discard":
                    data = bytes(BLOCK)
                    store.discard(offset, BLOCK)
                elif call != "try_write":
                    getattr(store, call)(offset, memoryview(data))
                elif not store.try_write(offset, memoryview(data)):
                    continue
                content[offset : offset + BLOCK] = data
                assert read(store, offset, BLOCK) == data

        return guarded(work)

    def flusher() -> None:
        while not finished.is_set():
            store.flush()

    threads = [threading.Thread(target=writer(number)) for number in range(WRITERS)]
    flushing = threading.Thread(target=guarded(flusher))
    for thread in (*threads, flushing):
        thread.start()
    for thread in threads:
        thread.join()
    finished.set()
    flushing.join()
    assert failures == []
    assert read(store, 0, len(content)) == content
