"""What lies below, and who can open it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from crypt_support import BLOCKS, TEXT, Open, read
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS
from iscsitools.backstores.base import Allocation, BackstoreError, Filter, MediumError
from iscsitools.backstores.ram import RamBackstore

from iscsitools_crypt.blocks import KEY_SIZE, Blocks
from iscsitools_crypt.filter import CryptFilter
from iscsitools_crypt.header import PLACES, SIZE
from iscsitools_crypt.secrets import PASSPHRASE, Secret


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


def test_a_tweak_is_the_number_of_the_logical_block() -> None:
    key = bytes(range(KEY_SIZE))
    encryptor = Cipher(AES(key), XTS((7).to_bytes(16, "little"))).encryptor()
    assert Blocks(key, 4096).encrypt(6 * 4096, bytes(4096) + TEXT[:4096])[4096:] == encryptor.update(TEXT[:4096])


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
    disk.write_bytes(bytes(1080) + b"\x53\xef" + bytes(SIZE + BLOCKS - 1082))
    with pytest.raises(BackstoreError, match="has data, and no header"):
        opened()  # ext4: both of the header's places are zeros
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


@pytest.mark.parametrize("cost", [0, 21, 1 << 31])
def test_a_header_that_asks_for_no_cost_that_scrypt_has(opened: Open, tmp_path: Path, cost: int) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_bytes(b"a phrase\n")
    opened(passphrase_file=str(phrase))
    disk = tmp_path / "disk"
    content = bytearray(disk.read_bytes())
    for place in PLACES:
        content[place + 24 : place + 28] = cost.to_bytes(4, "big")
        content[place + 152 : place + 184] = hashlib.sha256(content[place : place + 152]).digest()
    disk.write_bytes(content)
    with pytest.raises(BackstoreError, match="of another version"):
        opened(passphrase_file=str(phrase))


def test_a_secret_is_not_in_what_is_told_of_it() -> None:
    assert "horse" not in repr(Secret(PASSPHRASE, b"correct horse"))


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


def test_a_header_that_cannot_be_read_is_one_line(key_file: Path) -> None:
    class Unreadable(Filter):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            raise MediumError("this block cannot be had", offset)

    with pytest.raises(BackstoreError, match=r"^crypt: the disk's header: this block cannot be had$"):
        CryptFilter(Unreadable(RamBackstore("2M")), key_file=str(key_file)).open()
