"""Mode pages as bytes, as MODE SENSE returns and MODE SELECT takes them behind header and descriptor (SPC-4 7.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from iscsitools.scsi.core.cdb import Buffer, u16
from iscsitools.scsi.core.errors import invalid_parameter, parameter_list_length_error
from iscsitools.scsi.spc.mode_pages import ModePages, PageCode, Values

_PS, _SPF = 0x80, 0x40


def encode(pages: ModePages, control: int, codes: Iterable[PageCode]) -> bytes:
    """These pages, one behind the other, with the values of a PAGE CONTROL."""
    values = pages.values(control)
    return b"".join(_encode(code, values[code], _PS if pages.can_save(code) else 0) for code in codes)


def _encode(code: PageCode, body: bytes, saveable: int) -> bytes:
    if code.subpage:
        return struct.pack(">BBH", saveable | _SPF | code.page, code.subpage, len(body)) + body
    return bytes([saveable | code.page, len(body)]) + body


def decode(pages: ModePages, data: Buffer, base: int) -> Values:
    """The pages in ``data``, which begins at byte ``base`` of the parameter list.

    All is checked before a value changes (SPC-4 6.11): known pages of their true length, and no other bits changed
    than the changeable ones. Raises INVALID FIELD IN PARAMETER LIST or PARAMETER LIST LENGTH ERROR.
    """
    found: Values = {}
    at = 0
    while at < len(data):
        long = bool(data[at] & _SPF)
        if len(data) - at < (4 if long else 2):
            raise parameter_list_length_error()
        code = PageCode(data[at] & 0x3F, data[at + 1] if long else 0)
        if code not in pages.current or (long and not code.subpage):
            raise invalid_parameter(base + at + (1 if long else 0), 7 if long else 5)
        length = u16(data, at + 2) if long else data[at + 1]
        if length != len(pages.current[code]):
            raise invalid_parameter(base + at + (2 if long else 1), 7)
        at += 4 if long else 2
        body = bytes(data[at : at + length])
        if len(body) < length:
            raise parameter_list_length_error()
        _check_changes(pages, code, body, base + at)
        found[code] = body
        at += length
    return found


def _check_changes(pages: ModePages, code: PageCode, body: bytes, base: int) -> None:
    for index, (new, old, may) in enumerate(zip(body, pages.current[code], pages.changeable[code], strict=True)):
        refused = (new ^ old) & ~may
        if refused:
            raise invalid_parameter(base + index, refused.bit_length() - 1)
