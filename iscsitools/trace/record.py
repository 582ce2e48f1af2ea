"""The binary record of one event: 128 bytes, the same in a ring, on the socket and in a file.

========  ====  =======================================================================================
offset    size  what
========  ====  =======================================================================================
0         8     sequence number, from 1; written last
8         8     time, nanoseconds of the server's monotonic clock
16        8     unit number (signed: -1 is a LUN that names no unit)
24        4     connection
28        4     generation of the connection's strings
32        4     probe (:class:`iscsitools.probes.table.Probe`)
36        4     sense: key << 16 | ASC << 8 | ASCQ
40        4     true length of the CDB, 0 without one
44        4     zero
48        48    the PDU's BHS; of a transfer: ITT, TTT, address (8), offset, length, type and zeros
96        16    CDB bytes 16 to 31 (bytes 0 to 15 are in the BHS)
112       16    zero
========  ====  =======================================================================================

All numbers are little-endian, except inside the BHS, which is as on the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from iscsitools.probes.sites import Xfer
from iscsitools.probes.table import Info, Probe, info_of
from iscsitools.trace.events import ConnectionStrings, Event

VERSION: Final = 1
"""Of the record, the messages and the file; a reader refuses another one."""
SIZE: Final = 128
WORDS: Final = SIZE // 8
CDB_KEPT: Final = 32
CDB_IN_BHS: Final = 16

WHOLE: Final = struct.Struct("<QQqIIIII4x48s16s16x")

_XFER_BODY: Final = struct.Struct("<IIQIII")
_SEQUENCE: Final = struct.Struct("<Q")

Names = Mapping[tuple[int, int], ConnectionStrings]
"""Strings by connection and generation."""


def decode(block: bytes | bytearray | memoryview, names: Names) -> Iterator[Event]:
    """Make typed events of whole records. ``names`` must have every connection that they name."""
    for fields in WHOLE.iter_unpack(block):
        sequence, time, lun, ident, generation, number, sense, cdb_length, bhs, rest = fields
        probe = Probe(number)
        conn = names[ident, generation]
        if number == Probe.XFER_START or number == Probe.XFER_DONE:
            xfer = Xfer._make(_XFER_BODY.unpack_from(bhs))
            info = Info(lun, xfer.itt, xfer.ttt, 0, 0, 0, 0, 0)
            yield Event(sequence, time, probe, conn, info, b"", 0, b"", sense, xfer)
        else:
            cdb = cdb_of(bhs, rest, cdb_length)
            yield Event(sequence, time, probe, conn, info_of(probe, bhs, lun), cdb, cdb_length, bhs, sense, None)


def cdb_of(bhs: bytes, rest: bytes, length: int) -> bytes:
    """Put the kept bytes of a CDB of the true ``length`` together."""
    if length <= CDB_IN_BHS:
        return bhs[32 : 32 + length]
    return (bhs[32:48] + rest)[:length]


def connections_of(block: bytes | bytearray | memoryview) -> set[tuple[int, int]]:
    """Return the connections, with generations, that the records of ``block`` name."""
    return {(fields[3], fields[4]) for fields in WHOLE.iter_unpack(block)}


def sequence_at(block: bytes | bytearray | memoryview, index: int) -> int:
    """Return the sequence number of the record at ``index``."""
    value: int = _SEQUENCE.unpack_from(block, index * SIZE)[0]
    return value
