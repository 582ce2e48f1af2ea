"""Reading numbers out of CDBs and parameter lists (SPC-4 4.2)."""

from __future__ import annotations

import struct

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_BLOCK_6 = struct.Struct(">IB")
_BLOCK_10 = struct.Struct(">2xIxH")
_BLOCK_12 = struct.Struct(">2xII")
_BLOCK_16 = struct.Struct(">2xQI")

Buffer = bytes | bytearray | memoryview


def u16(data: Buffer, offset: int) -> int:
    """Two bytes at ``offset``."""
    value: int = _U16.unpack_from(data, offset)[0]
    return value


def u24(data: Buffer, offset: int) -> int:
    """Three bytes at ``offset``."""
    return data[offset] << 16 | data[offset + 1] << 8 | data[offset + 2]


def u32(data: Buffer, offset: int) -> int:
    """Four bytes at ``offset``."""
    value: int = _U32.unpack_from(data, offset)[0]
    return value


def u64(data: Buffer, offset: int) -> int:
    """Eight bytes at ``offset``."""
    value: int = _U64.unpack_from(data, offset)[0]
    return value


def block_range(cdb: bytes) -> tuple[int, int]:
    """LOGICAL BLOCK ADDRESS and TRANSFER LENGTH of a CDB of the common 6, 10, 12 or 16-byte layout.

    The layout follows from the operation code's group (SPC-4 4.2.5.1). In 6-byte CDBs a length of 0 means 256 blocks
    (SBC-2 5.5; SBC-3 has no READ(6) any more).
    """
    group = cdb[0] >> 5
    lba: int
    blocks: int
    if group == 0:
        word, blocks = _BLOCK_6.unpack_from(cdb)
        return word & 0x1FFFFF, blocks or 256
    if group == 4:
        lba, blocks = _BLOCK_16.unpack_from(cdb)
    elif group == 5:
        lba, blocks = _BLOCK_12.unpack_from(cdb)
    else:
        lba, blocks = _BLOCK_10.unpack_from(cdb)
    return lba, blocks


def length_field(cdb: bytes) -> int:
    """The byte at which :func:`block_range`'s transfer length begins."""
    return {0: 4, 4: 10, 5: 6}.get(cdb[0] >> 5, 7)
