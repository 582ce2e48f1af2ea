"""The fields of many SCSI Command PDUs at once, of READs and WRITEs whose BHSs lie one behind the other.

Hot: a field of all of them is copied out at the speed of C, and none of its numbers is an object before it is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Literal

from iscsitools.probes.lun import probe_lun
from iscsitools.trace.sums import lanes
from iscsitools.wire.rfc7143 import BHS_LENGTH

_CODES: Final[dict[int, Literal["I", "Q"]]] = {4: "I", 8: "Q"}
"""How ``array`` and ``struct`` call an unsigned number, by its bytes."""
# Where fields of a SCSI Command PDU begin: LUN, Expected Data Transfer Length, ExpStatSN, CDB (RFC 7143 11.3).
_LUN: Final = 8
_SIZE: Final = 20
_EXPECTED: Final = 28
_CDB: Final = 32
_TEN: Final = 1
_SIXTEEN: Final = 4
"""The group, in the upper three bits of the operation code, of CDBs with 10 and 16 bytes (SPC-4 4.3.4)."""


class Requests:
    """The BHSs, at least one. Where the operation code is 0 there is none, but for its ExpStatSN."""

    __slots__ = ("_groups", "_raw", "alike", "operations")

    def __init__(self, raw: bytearray) -> None:
        self._raw = raw
        self.operations = raw[_CDB::BHS_LENGTH]
        """The operation codes."""
        first = self.operations[0]
        self.alike = self.operations.count(first) == len(self.operations)
        """Whether they are the same."""
        codes = (first,) if self.alike else set(self.operations)
        self._groups = {code >> 5 for code in codes if code}

    def __len__(self) -> int:
        return len(self.operations)

    def _bytes(self, offset: int, size: int) -> bytes:
        """A field of all, big-endian as it was sent, each of ``size`` bytes."""
        end = len(self._raw) - BHS_LENGTH + offset + size
        return memoryview(self._raw)[offset:end].cast(_CODES[size])[:: BHS_LENGTH // size].tobytes()

    def units(self) -> Sequence[int]:
        """The LUNs, as the probes call them."""
        fields = self._bytes(_LUN, 8)
        if fields == fields[:8] * len(self):
            return (probe_lun(int.from_bytes(fields[:8], "big")),) * len(self)
        return [probe_lun(field) for field in _numbers(fields, 8)]

    def sizes(self) -> Sequence[int]:
        """The Expected Data Transfer Lengths, in bytes."""
        return _sequence(self._bytes(_SIZE, 4), 4)

    def expected(self) -> bytes:
        """The ExpStatSNs, big-endian."""
        return self._bytes(_EXPECTED, 4)

    def places(self) -> Sequence[int]:
        """The first blocks."""
        if self._groups <= {_TEN}:
            return _numbers(self._bytes(_CDB + 2, 4), 4)
        if self._groups == {_SIXTEEN}:
            return _numbers(self._bytes(_CDB + 2, 8), 8)
        ten, sixteen = _numbers(self._bytes(_CDB + 2, 4), 4), _numbers(self._bytes(_CDB + 2, 8), 8)
        pairs = zip(self.operations, ten, sixteen, strict=True)
        return [long if code >> 5 == _SIXTEEN else short for code, short, long in pairs]

    def places_in_lanes(self) -> int | None:
        """The same for :mod:`iscsitools.trace.sums.lanes`; None: of unlike CDBs."""
        if self._groups == {_TEN}:
            return lanes.column(self._bytes(_CDB - 2, 8), 0xFFFFFFFF)
        return lanes.column(self._bytes(_CDB + 2, 8), (1 << 64) - 1) if self._groups == {_SIXTEEN} else None

    def length(self) -> int | None:
        """How many blocks each has; None: not the same."""
        lengths = self.lengths()
        return lengths[0] if isinstance(lengths, tuple) else None

    def lengths(self) -> Sequence[int]:
        """How many blocks; a tuple where it is one number."""
        if self._groups == {_SIXTEEN}:
            return _sequence(self._bytes(_CDB + 10, 4), 4)
        ten = self._bytes(_CDB + 6, 4)  # GROUP NUMBER, which is 0 as CONTROL is, TRANSFER LENGTH, CONTROL
        if self._groups <= {_TEN}:
            return _sequence(ten, 4, 8)
        pairs = zip(self.operations, _numbers(ten, 4), _numbers(self._bytes(_CDB + 10, 4), 4), strict=True)
        return [long if code >> 5 == _SIXTEEN else short >> 8 for code, short, long in pairs]


def _numbers(fields: bytes, size: int) -> tuple[int, ...]:
    return struct.unpack(f">{len(fields) // size}{_CODES[size]}", fields)


def _sequence(fields: bytes, size: int, shift: int = 0) -> Sequence[int]:
    """The numbers, without their lowest bits: a tuple where it is one, as it mostly is."""
    first = fields[:size]
    if fields == first * (len(fields) // size):
        return (int.from_bytes(first, "big") >> shift,) * (len(fields) // size)
    return [number >> shift for number in _numbers(fields, size)]


def words(fields: bytes) -> Sequence[int]:
    """Numbers of 32 bits, big-endian."""
    return _numbers(fields, 4)
