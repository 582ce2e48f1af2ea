"""The data path in C against the one in Python, for some seeds; ``make twins`` takes others, for longer."""

from __future__ import annotations

import pytest
from support.native import needs_data_path

from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.stops import Stop

from .differential import check


@pytest.mark.parametrize("seed", range(24))
def test_no_difference(seed: int) -> None:
    check(seed, DataPath, needs_data_path())


class Miscounts(DataPath):
    """Forgets a read of one block."""

    def consume(self, pos: int, end: int, budget: int) -> tuple[int, Stop]:
        before = self.read_bytes
        found = super().consume(pos, end, budget)
        if self.read_bytes - before == 512:
            self.read_bytes = before
        return found


class Mistakes(DataPath):
    """Answers one byte of data in a million wrongly, or so."""

    def consume(self, pos: int, end: int, budget: int) -> tuple[int, Stop]:
        found = super().consume(pos, end, budget)
        if self.chunk is not None and self.tail > 20000:
            self.chunk.data[self.tail - 1] ^= 1
        return found


@pytest.mark.parametrize("other", [Miscounts, Mistakes])
def test_a_difference_is_found(other: type[DataPath]) -> None:
    def all_seeds() -> None:
        for seed in range(24):
            check(seed, DataPath, other)

    with pytest.raises(AssertionError, match="seed"):
        all_seeds()
