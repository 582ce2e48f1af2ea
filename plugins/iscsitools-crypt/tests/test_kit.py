"""What iscsitools.testing asks of every filter."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from crypt_support import BLOCKS
from iscsitools.backstores.base import Backstore, Filter
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters.powerloss import PowerlossFilter
from iscsitools.backstores.ram import RamBackstore
from iscsitools.testing.crash import check_crashes
from iscsitools.testing.faults import check_faults
from iscsitools.testing.model import check_model

from iscsitools_crypt.filter import CryptFilter
from iscsitools_crypt.header import SIZE


def of_file(key_file: Path, folder: Path) -> Backstore:
    return CryptFilter(FileBackstore(f"{folder}/disk", size=SIZE + BLOCKS), key_file=str(key_file))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block_size", [512, 4096])
def test_it_reads_as_written_and_does_so_after_it_was_opened_again(
    key_file: Path, tmp_path: Path, seed: int, block_size: int
) -> None:
    check_model(partial(of_file, key_file, tmp_path), seed, block_size=block_size, persistent=True)


@pytest.mark.parametrize("over", ["under a filter", "over a filter", "over a disk in memory"])
def test_with_other_filters_too(key_file: Path, over: str) -> None:
    def make() -> Filter:
        ram = RamBackstore(str(SIZE + BLOCKS))
        if over == "under a filter":
            return PowerlossFilter(CryptFilter(ram, key_file=str(key_file)))
        return CryptFilter(PowerlossFilter(ram) if over == "over a filter" else ram, key_file=str(key_file))

    check_model(make)


@pytest.mark.parametrize(("seed", "block_size"), [(1, 512), (2, 4096), (3, 4096)])
def test_what_was_flushed_survives_a_power_failure(key_file: Path, seed: int, block_size: int) -> None:
    assert check_crashes(partial(of_file, key_file), seed, steps=20, block_size=block_size) == 100


def test_errors_from_below_come_out_and_break_nothing(key_file: Path) -> None:
    assert check_faults(lambda inner: CryptFilter(inner, key_file=str(key_file)), more=SIZE) > 50
