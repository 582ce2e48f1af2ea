"""The crash-consistency test: power failures at any moment of a store's life, and what its files are worth then."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest import mock

from iscsitools.backstores import places
from iscsitools.backstores.base import Backstore
from iscsitools.testing.recorder import WriteRecorder
from iscsitools.testing.store_calls import call, read

_CHANGES: Final = ("write", "write", "try_write", "write_through", "discard", "write_zeroes")
_SHARES: Final = (0.0, 0.5, 1.0, 0.2, 0.8)


def _memory() -> str | None:
    """A directory in memory, where thousands of small files are made in no time; None: there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def check_crashes(
    make: Callable[[Path], Backstore], seed: int = 0, steps: int = 40, images: int = 5, block_size: int = 4096,
    place: Path | None = None,
) -> int:  # fmt: skip
    """Cut the power in and after each of ``steps`` calls, ``images`` times; returns how many failures were looked at.

    ``make(folder)`` makes a store, not open, that keeps all it has in files in that folder; they are made in the first
    call's ``open``, or were put there before by ``make``. After each failure a store over what is left must open, and
    every block must be as at the last flush that had returned, or as something written since; a write that
    ``write_through`` has made durable counts as flushed. The same ``seed`` does the same. ``place``: where the folders
    are made; else in memory, if the system has such a place.
    """
    with tempfile.TemporaryDirectory(prefix="iscsitools-crash-", dir=place or _memory()) as name:
        return _Life(make, Path(name), seed, block_size).run(steps, images)


class _Life:
    """One store, and what each of its blocks may be after a failure."""

    def __init__(self, make: Callable[[Path], Backstore], folder: Path, seed: int, block_size: int) -> None:
        self._make = make
        self._folder = folder
        self._seed = seed
        self._numbers = random.Random(seed)
        self._block_size = block_size
        self._failures = 0
        self._call = ""
        self._now: list[bytes] = []
        self._allowed: list[set[bytes]] = []

    def run(self, steps: int, images: int) -> int:
        alive = self._folder / "alive"
        alive.mkdir()
        store = self._make(alive)
        store.block_size = self._block_size
        store.open()
        recorder = WriteRecorder(alive)  # what open has made is there: it says itself that it is durable
        self._now = self._blocks(store)
        self._allowed = [{block} for block in self._now]
        try:
            with recorder.recording():
                call(store, "flush")
                for step in range(1, steps + 1):
                    self._fail_within(recorder)
                    done = self._step(store)
                    recorder.at_moment = None
                    while self._failures < step * images:
                        self._fail(recorder, f"after {done}")
        finally:
            store.close()
        return self._failures

    def _fail_within(self, recorder: WriteRecorder) -> None:
        """Have one failure within the next call, if it changes so many things."""
        wait = self._numbers.randrange(4)

        def moment() -> None:
            nonlocal wait
            wait -= 1
            if wait == -1:
                self._fail(recorder, f"within {self._call}")

        recorder.at_moment = moment

    def _blocks(self, store: Backstore) -> list[bytes]:
        content = read(store, 0, store.size)
        return [content[at : at + self._block_size] for at in range(0, len(content), self._block_size)]

    def _step(self, store: Backstore) -> str:
        numbers, size = self._numbers, self._block_size
        if numbers.random() < 0.2:
            self._call = "flush"
            call(store, "flush")
            self._allowed = [{block} for block in self._now]
            return "flush"
        name = numbers.choice(_CHANGES)
        first = numbers.randrange(len(self._now))
        blocks = range(first, min(first + numbers.randint(1, 6), len(self._now)))
        fill = bytes(size) if name in ("discard", "write_zeroes") else numbers.randbytes(16) * (size // 16)
        self._call = f"{name} of blocks {first} to {blocks.stop - 1}"
        before = [self._allowed[block] for block in blocks]
        for block in blocks:
            self._allowed[block] = self._allowed[block] | {fill}
        done = self._change(store, name, blocks, fill)
        for block, old in zip(blocks, before, strict=True):
            if not done:
                self._allowed[block] = old
                continue
            self._now[block] = fill
            if name == "write_through":
                self._allowed[block] = {fill}
        return self._call

    def _change(self, store: Backstore, name: str, blocks: range, fill: bytes) -> bool:
        size = self._block_size
        if name in ("discard", "write_zeroes"):
            call(store, name, blocks.start * size, len(blocks) * size)
            return True
        return call(store, name, blocks.start * size, memoryview(fill * len(blocks))) is not False

    def _fail(self, recorder: WriteRecorder, when: str) -> None:
        self._failures += 1
        number, share = self._failures, _SHARES[self._failures % len(_SHARES)]
        folder = self._folder / f"failure{number}"
        folder.mkdir()
        recorder.write_image(folder, self._seed * 1000003 + number, share)
        where = f"check_crashes(seed={self._seed}): power failure {number}, {when}"
        try:
            with mock.patch.object(places, "boot_id", return_value=f"after failure {number}"):
                store = self._make(folder)
                store.block_size = self._block_size
                store.open()
                found = self._blocks(store)
                store.close()
        except Exception as error:
            raise AssertionError(f"{where}: the store does not open: {error!r}") from error
        for block, (content, allowed) in enumerate(zip(found, self._allowed, strict=True)):
            if content in allowed:
                continue
            sectors = [content[at : at + 512] for at in range(0, len(content), 512)]
            for at, sector in enumerate(sectors):
                if all(sector != old[at * 512 : at * 512 + 512] for old in allowed):
                    raise AssertionError(f"{where}: block {block}, sector {at} is neither flushed nor written since")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
