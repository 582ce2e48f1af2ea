"""The CRC32C of header and data digests (RFC 7143 13.1), over the google-crc32c library."""

from __future__ import annotations

import google_crc32c


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """The CRC32C of ``data``, going on from ``crc``, the CRC32C of what was before it.

    On the wire the digest is this number with the least significant byte first (``struct`` format ``<I``).

    Hot where digests are on. The library takes ``bytes`` only, so another buffer is copied. Measured on one core of a
    shared x86-64 machine: ``bytes`` of 48, 4096, 262144 bytes 0.2, 0.6, 12.5 microseconds; a memoryview 0.9, 2.1, 25.
    Copying in smaller pieces was slower.
    """
    result: int = google_crc32c.extend(crc, data if type(data) is bytes else bytes(data))
    return result


def crc32c_wire(data: bytes | bytearray | memoryview, more: bytes = b"") -> bytes:
    """The digest of ``data`` and ``more`` as its four bytes go on the wire."""
    crc = crc32c(data)
    return (crc32c(more, crc) if more else crc).to_bytes(4, "little")
