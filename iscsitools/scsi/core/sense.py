"""Sense keys, additional sense codes, and fixed-format sense data (SPC-4 4.5)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from iscsitools.scsi.core.cdb import u16
from iscsitools.wire.sense import SenseKey


class FieldPointer(NamedTuple):
    """Where a bad field is, for the sense-key specific bytes (SPC-4 4.5.2.4.2). ``bit`` is None: a whole byte."""

    byte: int
    bit: int | None = None
    in_cdb: bool = True

    def encode(self) -> bytes:
        """The three sense-key specific bytes, SKSV set."""
        flags = 0x80 | (0x40 if self.in_cdb else 0)
        if self.bit is not None:
            flags |= 0x08 | self.bit
        return struct.pack(">BH", flags, self.byte)


def descriptor_sense(fixed: bytes) -> bytes:
    """What :func:`fixed_sense` made, in the descriptor format (SPC-4 4.5.2), with its sense-key specific bytes."""
    specific = fixed[15:18]
    descriptors = struct.pack(">BBxx3sx", 0x02, 6, specific) if specific[0] & 0x80 else b""
    return struct.pack(">BBH3xB", 0x72, fixed[2] & 0x0F, u16(fixed, 12), len(descriptors)) + descriptors


class Progress(NamedTuple):
    """How far an operation is, for the sense-key specific bytes (SPC-4 4.5.2.4.4): ``numerator`` of 65536."""

    numerator: int

    def encode(self) -> bytes:
        """The three sense-key specific bytes, SKSV set."""
        return struct.pack(">BH", 0x80, self.numerator)


SENSE_LENGTH = 18


def fixed_sense(
    key: SenseKey, asc: int, information: int | None = None, pointer: FieldPointer | Progress | None = None
) -> bytes:
    """Current sense data in the fixed format (SPC-4 4.5.3), 18 bytes.

    ``information`` that has no room in 32 bits leaves VALID 0, as SPC-4 4.5.3 wants.
    """
    valid = information is not None and information <= 0xFFFFFFFF
    return struct.pack(
        ">BxBIB4xHx3s",
        0x70 | (0x80 if valid else 0),
        key,
        information or 0 if valid else 0,
        SENSE_LENGTH - 8,
        asc,
        pointer.encode() if pointer is not None else bytes(3),
    )
