"""ii_lun from what a user writes: a number, or a LUN field as reports show one that names no unit."""

from __future__ import annotations

import pytest

from iscsitools.probes.lun import lun_of, lun_text, probe_lun


@pytest.mark.parametrize(
    ("text", "lun"),
    [
        ("0", 0),
        ("16383", 16383),
        ("13907397124296802304", 0xC101 << 48),
        ("0xc101", 0xC101 << 48),
        ("0xC101000000000000", 0xC101 << 48),
        ("0x40050001", 0x4005_0001 << 32),
        ("0x0007", 7),
        ("0x412c", 300),
        ("0x412c00000000", 300),
    ],
)
def test_numbers_and_fields(text: str, lun: int) -> None:
    assert lun_of(text) == lun


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1.5",
        "one",
        "0x",
        "0xc1",
        "0xc10",
        "0xg101",
        "0xc101000000000000c1",
        "²",
        "18446744073709551616",
        "1 ",
    ],
)
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match="neither a unit number nor a LUN field"):
        lun_of(text)


@pytest.mark.parametrize("field", [0, 7 << 48, 0x412C << 48, 0xC101 << 48, 0x4005_0001 << 32, (1 << 64) - 1])
def test_what_reports_show_comes_back(field: int) -> None:
    lun = probe_lun(field)
    assert lun_of(lun_text(lun)) == lun
