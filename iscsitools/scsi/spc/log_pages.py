"""The log pages (SPC-4 7.3, SBC-3 6.4): what can truly be counted of a disk of software."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from iscsitools.scsi.core.gate import READ_BYTES, READS, WRITES, WRITTEN_BYTES
from iscsitools.scsi.core.thresholds import Counts, Resource
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.spc.diagnostics import SelfTests

PROVISIONING: Final = 0x0C
_COUNTER, _BINARY_LIST = 0x00, 0x03
"""FORMAT AND LINKING of a bounded data counter, and of a binary format list log parameter (SPC-4 table 270)."""
_UNCORRECTED, _CORRECTED, _BYTES = 0x0006, 0x0003, 0x0005
_NO_TEMPERATURE = 0xFF
_FAILURE_PREDICTED = 0x5D
_OWN, _SHARED = 1, 2
"""SCOPE: a resource of this unit alone, and one that others use too (SBC-3 table 195)."""


def _parameter(code: int, value: bytes, control: int = _BINARY_LIST) -> bytes:
    return struct.pack(">HBB", code, control, len(value)) + value


def _counted(code: int, count: int) -> bytes:
    return _parameter(code, struct.pack(">Q", count), _COUNTER)


def _errors(counter: int | None, *words: str) -> Callable[[LogicalUnit], bytes]:
    """An error counter page: errors of the commands whose names begin with one of ``words``; none is ever corrected.

    ``counter``: the word of the unit that counts their bytes.
    """

    def page(unit: LogicalUnit) -> bytes:
        found = sum(count for name, count in unit.failures.items() if name.startswith(words))
        moved = b"" if counter is None else _counted(_BYTES, unit.counts[counter])
        return _counted(_CORRECTED, 0) + moved + _counted(_UNCORRECTED, found)

    return page


def _supported(unit: LogicalUnit) -> bytes:
    return bytes(pages_of(unit))


def _provisioning(unit: LogicalUnit) -> bytes:
    """Page 0Ch, Logical Block Provisioning (SBC-3 6.4.4): threshold sets. It asks the backstore."""
    space = unit.store.space()
    if space is None:
        return b""
    counts = Counts.of(space, unit.blocks * unit.block_size)
    return b"".join(
        _parameter(resource, struct.pack(">IB3x", count, scope))
        for resource, count, scope in (
            (Resource.AVAILABLE, counts.available, _SHARED), (Resource.USED, counts.used, _OWN)
        )
    )  # fmt: skip


def _temperature(unit: LogicalUnit) -> bytes:
    """Page 0Dh: a disk of software has no thermometer."""
    return _parameter(0, bytes([0, _NO_TEMPERATURE])) + _parameter(1, bytes([0, _NO_TEMPERATURE]))


def _self_tests(unit: LogicalUnit) -> bytes:
    """Page 10h: the results of the last self-tests."""
    return SelfTests.of(unit).page()


def _background_scan(unit: LogicalUnit) -> bytes:
    """Page 15h (SBC-3 6.4.2): nothing scans the medium on its own."""
    return _parameter(0, bytes(12))


def _statistics(unit: LogicalUnit) -> bytes:
    """Page 19h, General Statistics and Performance (SPC-4 7.3.9): commands and blocks; no time is taken of them."""
    words, size = unit.counts, unit.block_size
    received, transmitted = words[WRITTEN_BYTES] // size, words[READ_BYTES] // size
    return _parameter(1, struct.pack(">4Q32x", words[READS], words[WRITES], received, transmitted))


def _exceptions(unit: LogicalUnit) -> bytes:
    """Page 2Fh: FAILURE PREDICTION THRESHOLD EXCEEDED once the backstore has failed, until the counters are reset."""
    failing = _FAILURE_PREDICTED if sum(unit.failures.values()) else 0
    return _parameter(0, bytes([failing, 0, _NO_TEMPERATURE, 0]))


PAGES: Final[Mapping[int, Callable[[LogicalUnit], bytes]]] = {
    0x00: _supported,
    0x02: _errors(WRITTEN_BYTES, "WRITE", "UNMAP", "SYNCHRONIZE", "COMPARE", "ORWRITE"),
    0x03: _errors(READ_BYTES, "READ"),
    0x05: _errors(None, "VERIFY"),
    PROVISIONING: _provisioning,
    0x0D: _temperature,
    0x10: _self_tests,
    0x15: _background_scan,
    0x19: _statistics,
    0x2F: _exceptions,
}
"""The pages, by code, without their headers."""


def pages_of(unit: LogicalUnit) -> list[int]:
    """The codes of the pages that a unit has, ascending."""
    return [code for code in sorted(PAGES) if code != PROVISIONING or unit.counts_space]


def reset_counters(unit: LogicalUnit) -> None:
    """All counters begin anew."""
    unit.failures.clear()
    for word in (READS, READ_BYTES, WRITES, WRITTEN_BYTES):
        unit.counts[word] = 0
