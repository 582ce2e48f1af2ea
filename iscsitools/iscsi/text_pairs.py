"""Text data: key=value pairs and their values (RFC 7143 6.1).

A *logical text data segment* is what stays when the data segments of PDUs joined by the C bit are put together.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from iscsitools.iscsi.errors import TextError
from iscsitools.wire.keys import KEYS

MAX_VALUE: Final = 8192
"""Bytes of a value: room for a 1024-byte CHAP challenge in hex, and for long lists."""
MAX_PAIRS: Final = 512
"""Pairs in one logical text data segment; RFC 7143 knows 30 keys."""
MAX_TEXT: Final = 65536
"""Bytes of one logical text data segment: RFC 7143 6.1 wants 8192 as the least, 64 KiB for authentication."""
_SHORT: Final = 1024
"""Bytes of a text that is remembered."""

# A standard-label, and what goes beyond it: '#' of the extension keys (X#, Y#, Z#; RFC 7143 13.22), and the small
# letter with which iSCSIProtocolLevel begins.
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9.\-+@_#]{0,62}", re.ASCII)
_FOR_PEOPLE: Final = frozenset({"InitiatorAlias", "TargetAlias"})
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
_HEX = re.compile(r"0[xX]([0-9a-fA-F]+)", re.ASCII)


def parse_pairs(data: bytes) -> list[tuple[str, str]]:
    """Split a logical text data segment into (key, value) pairs, in order.

    Raises TextError for a missing final NUL, a key that is no standard-label or comes twice, a value that is not UTF-8,
    and what is longer or more than the bounds of this module. Surplus NULs between pairs are let through: padding
    that an initiator counted in is harmless; so are other encodings in values that nothing here depends on: aliases
    and keys that we do not know.

    Short ones are remembered, since an initiator says the same in each login; but nothing of a CHAP exchange is.
    """
    return list(_parse_short(data)) if len(data) <= _SHORT and b"CHAP_" not in data else _parse(data)


@lru_cache(maxsize=64)
def _parse_short(data: bytes) -> tuple[tuple[str, str], ...]:
    return tuple(_parse(data))


def _parse(data: bytes) -> list[tuple[str, str]]:
    if len(data) > MAX_TEXT:
        raise TextError(f"text of {len(data)} bytes, {MAX_TEXT} are allowed")
    if data and data[-1]:
        raise TextError("text does not end with NUL")
    found: dict[str, str] = {}
    for item in data.split(b"\0"):
        if not item:
            continue
        key, value = _parse_pair(item)
        if key in found:
            raise TextError(f"key {key} comes twice")
        if len(found) == MAX_PAIRS:
            raise TextError(f"more than {MAX_PAIRS} keys")
        found[key] = value
    return list(found.items())


def _parse_pair(item: bytes) -> tuple[str, str]:
    raw_key, equals, raw_value = item.partition(b"=")
    if not equals:
        raise TextError(f"no '=' in {item[:80]!r}")
    if len(raw_value) > MAX_VALUE:
        raise TextError(f"value of {len(raw_value)} bytes, {MAX_VALUE} are allowed")
    try:
        key = raw_key.decode("ascii")
        known = key in KEYS
        value = raw_value.decode("utf-8", "strict" if known and key not in _FOR_PEOPLE else "replace")
    except UnicodeDecodeError as error:
        raise TextError(f"text is not UTF-8: {item[:80]!r}") from error
    if not known and not _KEY.fullmatch(key):
        raise TextError(f"not a key name: {key[:80]!r}")
    return key, value


def encode_pairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Turn pairs into a logical text data segment, each pair with its NUL."""
    return "".join([f"{key}={value}\0" for key, value in pairs]).encode()


def split_text(data: bytes, size: int) -> list[bytes]:
    """Cut a logical text data segment into data segments of at most ``size`` bytes; at least one, perhaps empty.

    All but the last go out with the C bit (RFC 7143 11.11.2). A cut may fall anywhere, also inside a pair.
    """
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


def parse_number(value: str) -> int:
    """Read a numerical-value, decimal or hex, less than 2**64; TextError if it is none."""
    if _DECIMAL.fullmatch(value) and (number := int(value)) < 1 << 64:
        return number
    match = _HEX.fullmatch(value)
    if match and len(match[1]) <= 16:
        return int(match[1], 16)
    raise TextError(f"not a number: {value[:80]!r}")


def parse_boolean(value: str) -> bool:
    """Read a boolean-value, ``Yes`` or ``No`` exactly; TextError if it is neither."""
    if value == "Yes":
        return True
    if value != "No":
        raise TextError(f"neither Yes nor No: {value[:80]!r}")
    return False


def encode_boolean(value: bool) -> str:
    """``Yes`` or ``No``."""
    return "Yes" if value else "No"


def parse_list(value: str) -> list[str]:
    """Read a list of values, split at commas; TextError for an empty member."""
    members = value.split(",")
    if not all(members):
        raise TextError(f"an empty member in a list: {value[:80]!r}")
    return members


def decode_binary(value: str) -> bytes:
    """Read a large-binary-value: ``0x`` and hex digits, or ``0b`` and base64; TextError if it is neither.

    An odd number of hex digits is read as if a zero stood before them.
    """
    match = _HEX.fullmatch(value)
    if match:
        digits = match[1]
        return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
    if value[:2] in ("0b", "0B") and len(value) > 2:
        try:
            return base64.b64decode(value[2:], validate=True)
        except (binascii.Error, ValueError) as error:
            raise TextError(f"not base64: {value[:80]!r}") from error
    raise TextError(f"not a binary value: {value[:80]!r}")


def encode_binary(data: bytes) -> str:
    """``0x`` and lower-case hex digits: the form that every initiator reads."""
    return "0x" + data.hex()
