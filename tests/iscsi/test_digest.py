from __future__ import annotations

import struct

import pytest

from iscsitools.iscsi.connection.digest import crc32c

READ_10 = bytes.fromhex(
    "01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000"
)
# RFC 3720 B.4: the data, and the digest's bytes as they are sent.
VECTORS = [
    (bytes(32), "aa36918a"),
    (b"\xff" * 32, "43aba862"),
    (bytes(range(32)), "4e79dd46"),
    (bytes(reversed(range(32))), "5cdb3f11"),
    (READ_10, "563a96d9"),
]


@pytest.mark.parametrize(("data", "wire"), VECTORS)
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: memoryview(bytearray(data))])
def test_vectors(kind, data, wire):
    assert struct.pack("<I", crc32c(kind(data))).hex() == wire


@pytest.mark.parametrize(("data", "wire"), VECTORS)
def test_byte_by_byte(data, wire):
    crc = 0
    for at in range(len(data)):
        crc = crc32c(memoryview(data)[at : at + 1], crc)
    assert struct.pack("<I", crc).hex() == wire
