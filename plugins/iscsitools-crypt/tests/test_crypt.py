"""What lies below, who can open it, and what is there when the key has changed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from crypt_support import BLOCKS, Open, read
from iscsitools.backstores.base import Allocation, Backstore, BackstoreError, Filter, MediumError
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ram import RamBackstore

from iscsitools_crypt.blocks import Blocks
from iscsitools_crypt.filter import CryptFilter
from iscsitools_crypt.header import PLACES, SIZE

TEXT = (b"What nobody else may read. " * 700)[:16384]


def test_the_cipher_is_that_of_ieee_1619() -> None:
    """Its vector 10: AES-256, data unit 255."""
    key = bytes.fromhex(
        "27182818284590452353602874713526624977572470936999595749669676273141592653589793"
        "238462643383279502884197169399375105820974944592"
    )
    plain = bytes(range(256)) * 2
    blocks = Blocks(key, 512)
    found = blocks.encrypt(255 * 512, plain)
    assert found[:32].hex() == "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"
    assert found[-16:].hex() == "c4f36ffda9fcea70b9c6e693e148c151"
    buffer = memoryview(bytearray(found))
    blocks.decrypt(255 * 512, buffer)
    assert buffer == plain


@pytest.mark.parametrize("block_size", [512, 4096])
def test_nothing_that_was_written_can_be_read_below(opened: Open, tmp_path: Path, block_size: int) -> None:
    store = opened(block_size)
    store.write(0, memoryview(TEXT))
    store.write_zeroes(32768, 4096)
    store.flush()
    below = (tmp_path / "disk").read_bytes()[SIZE:]
    assert b"nobody" not in below
    assert len({below[at : at + 16] for at in range(0, len(TEXT), 16)}) == len(TEXT) // 16
    assert any(below[32768:36864]), "zeros that are written are hidden too"
    assert read(opened(block_size), 0, 36864) == TEXT.ljust(36864, b"\0")


def test_holes_are_holes_and_read_as_zeros(opened: Open, tmp_path: Path) -> None:
    store = opened()
    assert read(store, 0, BLOCKS) == bytes(BLOCKS)
    assert [extent.state for extent in store.extents(0, BLOCKS)] == [Allocation.HOLE]
    store.write(0, memoryview(TEXT))
    store.discard(4096, 4096)
    found = [(extent.offset, extent.length, extent.state.value) for extent in store.extents(0, BLOCKS)]
    assert found == [
        (0, 4096, "mapped"), (4096, 4096, "hole"), (8192, 8192, "mapped"), (16384, BLOCKS - 16384, "hole")
    ]  # fmt: skip
    assert read(store, 0, 16384) == TEXT[:4096] + bytes(4096) + TEXT[8192:]
    assert store.capabilities.thin


@pytest.mark.parametrize("kind", ["key_file", "passphrase_file"])
def test_a_wrong_secret_opens_nothing_and_changes_nothing(opened: Open, tmp_path: Path, kind: str) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(b"correct horse battery staple on a mat\n")
    wrong.write_bytes(b"correct horse battery staple on a hat\n")
    opened(**{kind: str(right)}).write(0, memoryview(TEXT))
    opened(**{kind: str(right)})
    before = (tmp_path / "disk").read_bytes()
    with pytest.raises(BackstoreError, match=r"^crypt: this is not the key of this disk$"):
        opened(**{kind: str(wrong)})
    other = "passphrase_file" if kind == "key_file" else "key_file"
    with pytest.raises(BackstoreError, match=f"^crypt: this disk wants its {kind}$"):
        opened(**{other: str(right)})
    with pytest.raises(BackstoreError, match=r"block_size=512; it needs that"):
        opened(4096, **{kind: str(right)})
    assert (tmp_path / "disk").read_bytes() == before
    assert read(opened(**{kind: str(right)}), 0, len(TEXT)) == TEXT


def test_a_passphrase_ends_at_its_line(opened: Open, tmp_path: Path) -> None:
    for text in (b"a phrase\n", b"a phrase", b"a phrase\r\n"):
        (tmp_path / "phrase").write_bytes(text)
        opened(passphrase_file=str(tmp_path / "phrase"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "No such file"), (b"short", "5 bytes; a key has at least 32"), (b"k" * 5000, "longer than 4096 bytes")],
)
def test_a_key_file_that_is_none(opened: Open, tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackstoreError, match=f"^crypt: {path}.*{complaint}"):
        opened(key_file=str(path))


def test_an_empty_passphrase_and_no_secret_or_two(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"\n")
    with pytest.raises(BackstoreError, match="holds no passphrase"):
        opened(passphrase_file=str(path))
    for options in ({}, {"key_file": "a", "passphrase_file": "b"}):
        with pytest.raises(BackstoreError, match="only one of them"):
            CryptFilter(RamBackstore("2M"), **options)


def test_a_key_that_others_can_read_is_told_of(opened: Open, key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened()
    assert not caplog.records
    key_file.chmod(0o640)
    opened()
    assert "open to others" in caplog.text


def test_a_disk_that_is_none_of_its_own_is_left_alone(opened: Open, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"MBR" + bytes(SIZE + BLOCKS - 3))
    before = disk.read_bytes()
    with pytest.raises(BackstoreError, match="has data, and no header"):
        opened()
    assert disk.read_bytes() == before
    disk.write_bytes(bytes(SIZE + BLOCKS))
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(BackstoreError, match="has no header"):
            opened(**options)
    disk.write_bytes(bytes(SIZE))
    with pytest.raises(BackstoreError, match="the header takes"):
        opened()


def test_a_header_of_a_later_version_and_a_damaged_one(opened: Open, tmp_path: Path) -> None:
    opened()
    disk = tmp_path / "disk"
    whole = disk.read_bytes()
    for at in range(0, 184, 7):
        content = bytearray(whole)
        for place in PLACES:
            content[place + at] ^= 1
        disk.write_bytes(content)
        with pytest.raises(BackstoreError, match="no header of this plugin"):
            opened()
    damaged = bytearray(whole)
    damaged[PLACES[0] + 20] ^= 1
    disk.write_bytes(damaged)
    opened()
    assert disk.read_bytes() == whole, "the whole copy mends the other"


def test_read_only_writes_nothing(opened: Open, tmp_path: Path) -> None:
    opened().write(0, memoryview(TEXT))
    disk = tmp_path / "disk"
    content = bytearray(disk.read_bytes())
    content[PLACES[1]] ^= 1
    disk.write_bytes(content)
    store = opened(read_only=True)
    assert read(store, 0, len(TEXT)) == TEXT
    assert not store.capabilities.crypto_erase
    assert disk.read_bytes() == content


def test_it_grows(opened: Open) -> None:
    store = opened()
    store.write(0, memoryview(TEXT))
    store.resize(2 * BLOCKS)
    assert store.size == 2 * BLOCKS
    store.write(BLOCKS, memoryview(TEXT))
    assert read(opened(), BLOCKS, len(TEXT)) == TEXT


def test_a_server_that_takes_over_a_disk_in_memory_finds_its_key(key_file: Path) -> None:
    def make() -> CryptFilter:
        store = CryptFilter(RamBackstore("2M"), key_file=str(key_file))
        store.open()
        return store

    old, new = make(), make()
    old.write(0, memoryview(TEXT))
    kept = old.keep()
    new.restore(kept)
    os.close(kept)
    assert read(new, 0, len(TEXT)) == TEXT
    old.close()
    new.close()


# The change of the key


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


def test_a_header_that_cannot_be_read_is_one_line(key_file: Path) -> None:
    class Unreadable(Filter):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            raise MediumError("this block cannot be had", offset)

    with pytest.raises(BackstoreError, match=r"^crypt: the disk's header: this block cannot be had$"):
        CryptFilter(Unreadable(RamBackstore("2M")), key_file=str(key_file)).open()


def test_another_server_would_go_on_with_the_old_key(key_file: Path) -> None:
    class Shared(Filter):
        @property
        def access(self) -> dict[int, str]:
            return {1: "optimized", 2: "standby"}

    store = CryptFilter(Shared(RamBackstore("2M")), key_file=str(key_file))
    store.open()
    assert not store.capabilities.crypto_erase
    store.close()
