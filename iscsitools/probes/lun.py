"""ii_lun: unit numbers, and the LUN fields that name none (SAM-5 4.7)."""

from __future__ import annotations

import re

_FIELD = re.compile(r"0x((?:[0-9a-fA-F]{4}){1,4})")


def unit_number(lun: int) -> int:
    """The unit number of an 8-byte LUN field (SAM-5 4.7): peripheral and flat space methods; -1 for any other."""
    if lun & 0x0000FFFFFFFFFFFF:
        return -1
    first = lun >> 48
    method = first >> 14
    if method == 0 and first >> 8 == 0:
        return first
    return first & 0x3FFF if method == 1 else -1


def probe_lun(lun: int) -> int:
    """What the probes call ii_lun: the unit number, or the whole field as it was sent where it names no unit."""
    number = unit_number(lun)
    return number if number >= 0 else lun


def lun_text(lun: int) -> str:
    """A unit number; a LUN field that names no unit in hexadecimal as it was sent, without its zeros at the end.

    A unit number has at most 14 bits (SAM-5 4.7): REPORT LUNS's well known unit is ``0xc101``.
    """
    if lun < 1 << 14:
        return str(lun)
    field = f"{lun:016x}"
    while field.endswith("0000"):
        field = field[:-4]
    return f"0x{field}"


def lun_of(text: str) -> int:
    """ii_lun from a number, or from a field of 2, 4, 6 or 8 bytes in hexadecimal. Raises ValueError when it is neither.

    What :func:`lun_text` writes comes back; so does the decimal number of a whole field, as JSON has it.
    """
    if found := _FIELD.fullmatch(text):
        return probe_lun(int(found[1].ljust(16, "0"), 16))
    if text.isascii() and text.isdecimal() and int(text) < 1 << 64:
        return int(text)
    raise ValueError(f"{text!r} is neither a unit number nor a LUN field of 4, 8, 12 or 16 hexadecimal digits after 0x")
