"""Atomic writes: whatever moment a power cut chooses, the blocks are as before or as written, and later writes stay."""

from __future__ import annotations

import random

import pytest

from iscsitools.backstores.atomic_journal import SIZE, AtomicJournal
from iscsitools.backstores.base import Filter
from iscsitools.backstores.filters.powerloss import PowerlossFilter
from iscsitools.backstores.ram import RamBackstore

BLOCK = 512
BLOCKS = 16


class Cut(BaseException):
    """The power is gone."""


class Steps:
    """Counts the changes of all stores, and cuts the power before the one of that number."""

    def __init__(self, last: int) -> None:
        self.left = last

    def take(self) -> None:
        if not self.left:
            raise Cut
        self.left -= 1


class Stepping(Filter):
    """A durable write is a write and a flush, so that the power can go in between; writes go block by block."""

    kind = "stepping"

    def __init__(self, inner, steps):
        super().__init__(inner)
        self.steps = steps

    def write(self, offset, buffer):
        for at in range(0, len(buffer), BLOCK):
            self.steps.take()
            self.inner.write(offset + at, buffer[at : at + BLOCK])

    def flush(self):
        self.steps.take()
        self.inner.flush()


def content(number: int) -> bytes:
    return bytes(random.Random(number).randbytes(BLOCKS * BLOCK))


def disks():
    found = [PowerlossFilter(RamBackstore(size)) for size in ("64K", str(SIZE))]
    for disk in found:
        disk.open()
    return found


def read(disk) -> bytes:
    buffer = bytearray(BLOCKS * BLOCK)
    disk.read_into(4096, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("again", [False, True], ids=["recovers", "is cut while it recovers"])
def test_whole_or_nothing_after_any_cut(seed, again):
    seen = set()
    finished = False
    last = 0
    while not finished:
        disk, place = disks()
        old, new = content(1), content(2)
        disk.write_through(4096, memoryview(old))
        steps = Steps(last)
        try:
            AtomicJournal(Stepping(place, steps)).write(Stepping(disk, steps), 4096, memoryview(new))
            finished = True
        except Cut:
            pass
        for number, store in enumerate((disk, place)):
            store.cut(0.5, torn=True, seed=seed * 1000 + last * 2 + number)
        if again:
            steps = Steps(random.Random(seed * 100 + last).randrange(40))
            try:
                AtomicJournal(Stepping(place, steps)).recover(Stepping(disk, steps))
            except Cut:
                for number, store in enumerate((disk, place)):
                    store.cut(0.5, torn=True, seed=seed * 1000 + 500 + last * 2 + number)
        AtomicJournal(place).recover(disk)
        found = read(disk)
        assert found in (old, new)
        assert not finished or found == new, "it was acknowledged"
        seen.add(found)
        assert AtomicJournal(place).recover(disk) == 0
        last += 1
    assert last > 2 * BLOCKS
    assert seen == {old, new}


def test_what_is_written_later_stays():
    disk, place = disks()
    journal = AtomicJournal(place)
    journal.write(disk, 4096, memoryview(content(1)))
    disk.write_through(4096, memoryview(content(2)))
    for store in (disk, place):
        store.cut(1.0)
    assert AtomicJournal(place).recover(disk) == 0
    assert read(disk) == content(2)


def test_a_write_that_failed_is_not_done_later():
    disk, place = disks()

    class Broken(Filter):
        kind = "broken"

        def write(self, offset, buffer):
            raise OSError(5, "broken")

    with pytest.raises(OSError, match="broken"):
        AtomicJournal(place).write(Broken(disk), 4096, memoryview(content(1)))
    assert AtomicJournal(place).recover(disk) == 0
