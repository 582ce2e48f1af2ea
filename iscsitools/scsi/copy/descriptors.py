"""CSCD and segment descriptors of EXTENDED COPY (SPC-4 6.4.4 to 6.4.6)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from iscsitools.scsi.copy.rights import Party, not_reachable
from iscsitools.scsi.copy.segment import Segment
from iscsitools.scsi.core.cdb import Buffer, u16, u24, u64
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.errors import ScsiError, check_condition, illegal_request, invalid_parameter
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.sense import Asc, SenseKey

IDENTIFICATION: Final = 0xE4
BLOCK_TO_BLOCK: Final = 0x02
SUPPORTED: Final = bytes([BLOCK_TO_BLOCK, IDENTIFICATION])
"""Descriptor type codes that are known, in order."""
CSCD_LENGTH: Final = 32
SEGMENT_LENGTH: Final = 28
MOST_BLOCKS: Final = 0xFFFF
_NAA, _T10_VENDOR = 3, 1
_BINARY = 1
_DC = 0x02
_BLOCK_LENGTH: Final = 29
"""Where DISK BLOCK LENGTH stands in the descriptor of a block device (SPC-4 6.4.5.3, device type specific)."""


def designators(unit: LogicalUnit) -> dict[tuple[int, bytes], None]:
    """What names a unit in a CSCD descriptor, by designator type."""
    vendor = unit.options.vendor.encode("ascii", "replace")[:8].ljust(8)
    serial = unit.identity.serial.encode("ascii", "replace")
    return {(_NAA, unit.identity.naa): None, (_T10_VENDOR, vendor + serial): None}


class UnitsByName:
    """All units of a server by what names them, looked at anew when one has come or gone.

    Measured: with 1,000 units and a list of 64 descriptors, looking at each unit's names for each takes 31 ms.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._changes = -1
        self._units: dict[tuple[int, bytes], list[LogicalUnit]] = {}

    def named(self, name: tuple[int, bytes]) -> Sequence[LogicalUnit]:
        """The units that this designator names; several, if somebody gave them one identity."""
        if self._changes != self._domain.changes:
            self._changes = self._domain.changes
            self._units.clear()
            for unit in self._domain.units():
                for each in designators(unit):
                    self._units.setdefault(each, []).append(unit)
        return self._units.get(name, ())


def cscd_descriptor(unit: LogicalUnit) -> bytes:
    """The CSCD descriptor of a unit, by its NAA designator (SPC-4 6.4.5.3)."""
    naa = unit.identity.naa
    head = struct.pack(">BBHBBBB", IDENTIFICATION, 0, 0, _BINARY, _NAA, 0, len(naa))
    return head + naa.ljust(20, b"\0") + unit.block_size.to_bytes(4, "big")


def find_unit(party: Party, data: Buffer, at: int) -> LogicalUnit | None:
    """The unit that an identification CSCD descriptor names, if the party reaches it.

    LU ID TYPE is ignored, as SPC-4 says, and so is NUL, which is obsolete. Raises ScsiError for another type of
    descriptor, for one of another type of device, and for another block length than the unit's: who counts in other
    blocks would have others copied than it means (SPC-4 6.4.5: verified before the first segment).
    """
    if data[at] != IDENTIFICATION:
        raise illegal_request(Asc.UNSUPPORTED_TARGET_DESCRIPTOR)
    if data[at + 1] & 0x1F:
        raise invalid_parameter(at + 1, 4)
    kind, length = data[at + 5] & 0x0F, data[at + 7]
    if length > 20:
        raise invalid_parameter(at + 7, 7)
    key = (kind, bytes(data[at + 8 : at + 8 + length]))
    for unit in party.unit.domain.part(UnitsByName).named(key):
        if next(party.nexuses(unit), None) is not None:
            if u24(data, at + _BLOCK_LENGTH) != unit.block_size:
                raise invalid_parameter(at + _BLOCK_LENGTH, 7)
            return unit
    return None


def check_segment(data: Buffer, at: int) -> None:
    """Raise ScsiError for a segment descriptor of another type than block to block, or of another length."""
    if data[at] != BLOCK_TO_BLOCK:
        raise illegal_request(Asc.UNSUPPORTED_SEGMENT_DESCRIPTOR)
    if u16(data, at + 2) != SEGMENT_LENGTH - 4:
        raise invalid_parameter(at + 2, 7)


def segment_of(data: Buffer, at: int, number: int, units: list[LogicalUnit | None]) -> Segment:
    """What a block to block segment descriptor asks for (SPC-4 6.4.6.4). Raises ScsiError COPY ABORTED."""
    source, destination = (_unit(units, u16(data, at + place), number) for place in (4, 6))
    size = (destination if data[at + 1] & _DC else source).block_size
    length = u16(data, at + 10) * size
    if length % source.block_size or length % destination.block_size:
        raise _aborted(Asc.COPY_SEGMENT_GRANULARITY_VIOLATION, number)
    start, to = u64(data, at + 12) * source.block_size, u64(data, at + 20) * destination.block_size
    return Segment(source, start, destination, to, length, number)


def _unit(units: list[LogicalUnit | None], index: int, number: int) -> LogicalUnit:
    if index >= len(units):
        raise _aborted(Asc.UNREACHABLE_COPY_TARGET, number)
    unit = units[index]
    if unit is None:
        raise not_reachable()
    return unit


def _aborted(asc: Asc, number: int) -> ScsiError:
    error = check_condition(SenseKey.COPY_ABORTED, asc)
    return ScsiError(error.status, error.sense[:10] + number.to_bytes(2, "big") + error.sense[12:])
