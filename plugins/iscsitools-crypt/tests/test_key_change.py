"""The change of the key: what is left of the old one, and what a power cut or a failure within it leaves."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crypt_support import BLOCKS, TEXT, Open, read
from iscsitools.backstores.base import Backstore, Filter
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ram import RamBackstore

from iscsitools_crypt.filter import CryptFilter
from iscsitools_crypt.header import PLACES, SIZE


def test_after_a_change_of_the_key_nothing_is_left(opened: Open, tmp_path: Path) -> None:
    store = opened()
    disk = tmp_path / "disk"
    store.write(0, memoryview(TEXT))
    store.flush()
    before = disk.read_bytes()
    wrapped = before[72:152]
    store.crypto_erase()
    found = read(store, 0, BLOCKS)
    assert len({*found[: len(TEXT)]} & {*range(256)}) == 256, "noise"
    assert b"nobody" not in found
    assert found[len(TEXT) :] == bytes(BLOCKS - len(TEXT)), "holes are zeros all the same"
    after = disk.read_bytes()
    assert wrapped not in after
    assert after[SIZE:] == before[SIZE:]
    store.write(0, memoryview(TEXT))
    assert read(opened(), 0, len(TEXT)) == TEXT


class Cut(BaseException):
    """The power is gone."""


class Cutting(Filter):
    """Cuts the power within the durable write of this number: so many sectors of it are there, of the rest none."""

    def __init__(self, inner: Backstore, number: int, share: float) -> None:
        super().__init__(inner)
        self.number, self.share = number, share
        self.armed = False

    def write_through(self, offset: int, buffer: memoryview) -> None:
        if self.armed:
            self.number -= 1
            if self.number < 0:
                self.inner.write(offset, buffer[: int(len(buffer) * self.share) // 512 * 512])
                raise Cut
        self.inner.write_through(offset, buffer)


@pytest.mark.parametrize("share", [0, 1, 0.5])
@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("block_size", [512, 4096])
def test_a_power_cut_leaves_the_old_key_or_the_new_one(
    tmp_path: Path, key_file: Path, number: int, share: float, block_size: int
) -> None:
    def make(at: int = -1) -> CryptFilter:
        below = Cutting(FileBackstore(str(tmp_path / "disk"), size=SIZE + BLOCKS), at, share)
        store = CryptFilter(below, key_file=str(key_file))
        store.block_size = block_size
        store.open()
        below.armed = at >= 0
        return store

    store = make(number)
    store.write(0, memoryview(TEXT))
    with pytest.raises(Cut):
        store.crypto_erase()
    store.close()
    store = make()
    kept = read(store, 0, len(TEXT)) == TEXT
    assert kept is (number == 0 and (share < 1 and not (block_size == 4096 and share)))
    disk = (tmp_path / "disk").read_bytes()
    first, second = (disk[place : place + 512] for place in PLACES)
    assert first == second, "opening it completes the change"
    data = random.Random(number).randbytes(4096)
    store.write(0, memoryview(data))
    store.close()
    store = make()
    assert read(store, 0, 4096) == data
    store.close()


class Failing(Filter):
    """The durable write of this number fails, and so does each after it."""

    def __init__(self, inner: Backstore) -> None:
        super().__init__(inner)
        self.number = 1 << 30

    def write_through(self, offset: int, buffer: memoryview) -> None:
        self.number -= 1
        if self.number < 0:
            raise OSError(5, "broken")
        self.inner.write_through(offset, buffer)


def test_while_no_key_is_in_force_nothing_is_read_or_written(key_file: Path) -> None:
    """Else what is written then could be lost by opening the disk again."""
    below = Failing(RamBackstore("2M"))
    store = CryptFilter(below, key_file=str(key_file))
    store.open()
    store.write(0, memoryview(TEXT))
    below.number = 0
    with pytest.raises(OSError, match="broken"):
        store.crypto_erase()
    with pytest.raises(OSError, match="was broken off"):
        read(store, 0, 512)
    with pytest.raises(OSError, match="was broken off"):
        store.write(0, memoryview(TEXT))
    below.number = 1
    with pytest.raises(OSError, match="broken"):
        store.crypto_erase()
    store.write(0, memoryview(TEXT))
    assert read(store, 0, len(TEXT)) == TEXT, "the new key is durable once, so it is in force"
    below.number = 1 << 30
    store.crypto_erase()
    assert read(store, 0, len(TEXT)) != TEXT
    store.close()


def test_another_server_would_go_on_with_the_old_key(key_file: Path) -> None:
    class Shared(Filter):
        @property
        def access(self) -> dict[int, str]:
            return {1: "optimized", 2: "standby"}

    store = CryptFilter(Shared(RamBackstore("2M")), key_file=str(key_file))
    store.open()
    assert not store.capabilities.crypto_erase
    store.close()
