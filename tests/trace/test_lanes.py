"""Arithmetic on columns that are one large number: the same as one by one, or the answer that it cannot be."""

from __future__ import annotations

import random
import struct

import pytest

from iscsitools.trace.sums import lanes

COUNT = 300


def packed(numbers: list[int], code: str) -> bytes:
    return struct.pack(f">{len(numbers)}{code}", *numbers)


@pytest.mark.parametrize("begin", [256, 300, 70_000, (1 << 32) - COUNT - 1])
def test_numbers_are_ahead(begin: int) -> None:
    rng = random.Random(begin)
    expected = [min(rng.choice((0, 1, 31, 255, rng.randrange(256))), begin + n) for n in range(COUNT)]
    fields = packed([begin + n - ahead for n, ahead in enumerate(expected)], "I")
    assert lanes.ahead(begin, fields) == bytes(expected)


@pytest.mark.parametrize("begin", [0, 1, 255, 256, 70_000, (1 << 32) - COUNT, (1 << 32) - 1])
@pytest.mark.parametrize("place", [0, 1, COUNT - 1])
@pytest.mark.parametrize("other", [0, 1, -1, -255, 256, 1 << 31, (1 << 32) - 1])
def test_one_number_that_is_not_near_spoils_no_other(begin: int, place: int, other: int) -> None:
    """Behind, far ahead, or beyond the end of the numbers: then nothing is said, or what is true."""
    numbers = [begin + n & 0xFFFFFFFF for n in range(COUNT)]
    numbers[place] = numbers[place] - other & 0xFFFFFFFF
    found = lanes.ahead(begin, packed(numbers, "I"))
    true = [begin + n - number for n, number in enumerate(numbers)]
    assert found is None or list(found) == true
    assert (found is not None) == (255 < begin < (1 << 32) - COUNT and all(0 <= ahead < 256 for ahead in true))


@pytest.mark.parametrize("top", [1, 1 << 20, (1 << 32) - 1, (1 << 63) - 1])
def test_distances_have_either_sign(top: int) -> None:
    rng = random.Random(top)
    length = min(8, top)
    lbas = [rng.choice((0, top - length, rng.randint(0, top - length))) for _ in range(COUNT)]
    column = lanes.column(packed(lbas, "Q"), (1 << 64) - 1)
    before = rng.randint(0, top)
    ends = [before, *(lba + length for lba in lbas)]
    assert lanes.distances(column, COUNT, length, before) == tuple(lba - ends[n] for n, lba in enumerate(lbas))
    assert lanes.last(column) == lbas[-1]


def test_a_mask_takes_the_lower_half() -> None:
    numbers = [n << 32 | n * 3 for n in range(COUNT)]
    column = lanes.column(packed(numbers, "Q"), 0xFFFFFFFF)
    assert lanes.column(packed([n * 3 for n in range(COUNT)], "Q"), (1 << 64) - 1) == column


@pytest.mark.parametrize("shift", [0, 1, 12, 31, 57])
def test_shares_are_what_fits_into_128_of_a_width(shift: int) -> None:
    rng = random.Random(shift)
    lbas = [rng.choice((0, (128 << shift) - 1, rng.randrange(128 << shift))) for _ in range(COUNT)]
    column = lanes.column(packed(lbas, "Q"), (1 << 64) - 1)
    assert lanes.shares(column, COUNT, shift) == bytes(lba >> shift for lba in lbas)
    if shift < 57:
        lbas[rng.randrange(COUNT)] = 128 << shift
        assert lanes.shares(lanes.column(packed(lbas, "Q"), (1 << 64) - 1), COUNT, shift) is None
