"""The distribution as dtrace prints it: expected texts are dtrace's own for the same values."""

from __future__ import annotations

from collections import Counter

from iscsitools.trace.sums.histogram import index_of
from iscsitools.trace.views.quantize import keyed_quantize, quantize_lines


def drawn(*values: int) -> str:
    return "\n".join(quantize_lines(Counter(map(index_of, values))))


def test_shape_of_a_distribution() -> None:
    assert drawn(26, 24, 51, 77, 21) == (
        "           value  ------------- Distribution ------------- count    \n"
        "               8 |                                         0        \n"
        "              16 |@@@@@@@@@@@@@@@@@@@@@@@@                 3        \n"
        "              32 |@@@@@@@@                                 1        \n"
        "              64 |@@@@@@@@                                 1        \n"
        "             128 |                                         0        "
    )


def test_zero_has_minus_one_below_it() -> None:
    lines = drawn(0, 0, 0, 1, 1, 1, 1, 1, 1, *[2] * 18).splitlines()
    assert [line.split("|")[0].strip() for line in lines[1:]] == ["-1", "0", "1", "2", "4"]


def test_bars_are_rounded_to_the_nearest() -> None:
    # 3, 6 and 18 of 27: 4.44, 8.89 and 26.67 fortieths; cutting instead of rounding would give 4, 8 and 26
    lines = drawn(0, 0, 0, 1, 1, 1, 1, 1, 1, *[2] * 18).splitlines()
    assert [line.count("@") for line in lines[2:5]] == [4, 9, 27]


def test_empty_rows_between_values_are_shown() -> None:
    values = [line.split()[0] for line in drawn(1000, 9000).splitlines()[1:]]
    assert values == ["256", "512", "1024", "2048", "4096", "8192", "16384"]


def test_nothing_counted() -> None:
    assert [line.split()[0] for line in drawn().splitlines()[1:]] == ["-1", "0", "1"]


def test_boundaries_of_a_power_of_two() -> None:
    assert "           65536 |@" in drawn(65536)
    assert "           32768 |@" in drawn(65535)


def test_key_as_printa_prints_it() -> None:
    lines = keyed_quantize("192.0.2.7", {index_of(5): 1})
    assert lines[:2] == ["", "  192.0.2.7" + " " * 41]
    assert len(lines[1]) == 52


def test_a_long_key_is_not_cut() -> None:
    key = "2001:db8:" * 8
    assert key in keyed_quantize(key, {})[1]
