from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore

from iscsitools_crypt.filter import CryptFilter
from iscsitools_crypt.header import SIZE

sys.path.insert(0, str(Path(__file__).parent))  # for crypt_support, however pytest imports tests

from crypt_support import BLOCKS, Open


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    return path


@pytest.fixture
def opened(tmp_path: Path, key_file: Path) -> Iterator[Open]:
    """``opened(**options)``: the disk in ``tmp_path / "disk"``, opened again each time."""
    stores: list[Backstore] = []
    disk = tmp_path / "disk"

    def start(block_size: int = 512, read_only: bool = False, **options: object) -> Backstore:
        while stores:
            stores.pop().close()
        if not {"key_file", "passphrase_file"} & set(options):
            options["key_file"] = str(key_file)
        store = CryptFilter(FileBackstore(str(disk), size=0 if disk.exists() else SIZE + BLOCKS), **options)  # type: ignore[arg-type]
        store.block_size = block_size
        store.read_only = read_only
        store.open()
        stores.append(store)
        return store

    yield start
    while stores:
        stores.pop().close()
