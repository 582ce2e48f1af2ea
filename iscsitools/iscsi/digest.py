"""The CRC32C of header and data digests (RFC 7143 13.1), over the google-crc32c library."""

from __future__ import annotations

from typing import Final

import google_crc32c

_PIECE: Final = 32768


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """The CRC32C of ``data``, going on from ``crc`` of what was before it.

    On the wire the digest is this number with the least significant byte first (``struct`` format ``<I``).
    """
    if type(data) is bytes:
        result: int = google_crc32c.extend(crc, data)
        return result
    for at in range(0, len(data), _PIECE):
        crc = google_crc32c.extend(crc, bytes(data[at : at + _PIECE]))
    return crc
