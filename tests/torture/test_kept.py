"""What a server keeps beside its disks, through power failures at every moment: reservations, and atomic writes.

Short here; ``make torture`` plays more (ISCSITOOLS_TORTURE, ISCSITOOLS_SEED).
"""

from __future__ import annotations

import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.in_memory import MEMORY

from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.syscalls import sync_data
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.server.atomic_file import AtomicFile
from iscsitools.server.kept_file import KeptFile
from iscsitools.testing.recorder import WriteRecorder

from .load import seeds

ROUNDS = int(os.environ.get("ISCSITOOLS_TORTURE", "1"))
SHARES = (0.0, 0.5, 0.3, 0.5, 0.7, 0.5, 1.0)
LENGTH = 8192


@pytest.fixture
def alive() -> Iterator[Path]:
    """A folder, in memory where there is one: many small files are made of it."""
    with tempfile.TemporaryDirectory(prefix="iscsitools-kept-", dir=MEMORY) as name:
        folder = Path(name) / "alive"
        folder.mkdir()
        yield folder


class Failures:
    """Cuts the power at each moment, and has what is left looked at; ``met`` is all that was found."""

    def __init__(self, alive: Path, seed: int, look: Callable[[Path], object]) -> None:
        self.recorder = WriteRecorder(alive)
        self.met: set[object] = set()
        self.allowed: tuple[object, ...] = ()
        self._beside = alive.parent
        self._look = look
        self._number = seed * 1000003

    def cut(self) -> None:
        for share in SHARES:
            self._number += 1
            with tempfile.TemporaryDirectory(dir=self._beside) as name:
                self.recorder.write_image(Path(name), self._number, share)
                found = self._look(Path(name))
            assert found in self.allowed, f"power failure {self._number}: neither the old nor the new"
            self.met.add(found)

    def during(self, work: Callable[[], None], old: object, new: object) -> None:
        """Do it, with a failure at each moment of it, and one more when it was done."""
        self.allowed = (old, new)
        self.recorder.at_moment = self.cut
        work()
        self.recorder.at_moment = None
        self.allowed = (new,)
        self.cut()


def reservations(folder: Path) -> str:
    return KeptFile(folder / "lun.json", InlineExecutor()).load()


@pytest.mark.parametrize("seed", seeds(ROUNDS))
def test_reservations_are_the_old_or_the_new_ones_after_any_power_failure(alive: Path, seed: int) -> None:
    numbers = random.Random(seed)
    failures = Failures(alive, seed, reservations)
    place = KeptFile(alive / "lun.json", InlineExecutor())
    old = ""
    with failures.recorder.recording():
        for number in range(1, 20):
            new = "" if number % 6 == 0 else "".join(numbers.choices("abcdef\n", k=numbers.randrange(1, 4000)))
            failures.during(lambda number=number, new=new: place.keep(number, new), old, new)
            old = new
    assert len(failures.met) > 15


def disk_of(folder: Path) -> FileBackstore:
    store = FileBackstore(str(folder / "disk"))
    store.open()
    return store


def content(folder: Path) -> bytes:
    """What the disk has when a server has begun with it."""
    store = disk_of(folder)
    AtomicFile(folder / "lun.atomic").recover(store)
    buffer = bytearray(LENGTH)
    store.read_into(4096, memoryview(buffer))
    store.close()
    return bytes(buffer)


@pytest.mark.parametrize("seed", seeds(ROUNDS))
def test_an_atomic_write_is_there_whole_or_not_at_all_after_any_power_failure(alive: Path, seed: int) -> None:
    numbers = random.Random(seed)
    old = bytes(LENGTH)
    (alive / "disk").write_bytes(bytes(LENGTH + 8192))
    failures = Failures(alive, seed, content)
    file, store = AtomicFile(alive / "lun.atomic"), disk_of(alive)
    sync_data(store._fd)
    with failures.recorder.recording():
        for _ in range(3):
            new = numbers.randbytes(LENGTH)
            failures.during(lambda new=new: file.write(store, 4096, memoryview(new)), old, new)
            old = new
    store.close()
    assert len(failures.met) == 4


@pytest.mark.parametrize("lost", [stat.S_ISREG, stat.S_ISDIR], ids=["the text", "its name"])
def test_reservations_that_are_not_synced_are_found_out(
    alive: Path, monkeypatch: pytest.MonkeyPatch, lost: Callable[[int], bool]
) -> None:
    real = WriteRecorder._fsync
    monkeypatch.setattr(
        WriteRecorder, "_fsync", lambda self, none, fd: None if lost(os.fstat(fd).st_mode) else real(self, none, fd)
    )
    with pytest.raises(AssertionError, match="neither the old nor the new"):
        test_reservations_are_the_old_or_the_new_ones_after_any_power_failure(alive, 1)
