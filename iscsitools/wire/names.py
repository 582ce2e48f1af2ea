"""iSCSI names in the one form in which they are compared (RFC 7143 4.2.7.1, RFC 3722)."""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

MAX_NAME: Final = 223
"""Bytes of UTF-8 in an iSCSI name (RFC 7143 4.2.7.1)."""


def fold_name(name: str) -> str:
    """Bring a name into the form in which names are compared: RFC 3722's mapping (case folding and NFKC)."""
    if name.isascii():
        return name.lower()  # what the tables make of ASCII; they take 100 us for a name, twice in each login
    mapped = "".join(stringprep.map_table_b2(c) for c in name if not stringprep.in_table_b1(c))
    return unicodedata.normalize("NFKC", mapped)
