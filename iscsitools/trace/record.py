"""The binary record of one event: 128 bytes, the same in a ring, on the socket and in a file.

========  ====  =======================================================================================
offset    size  what
========  ====  =======================================================================================
0         8     sequence number, from 1; written last
8         8     time, nanoseconds of the server's monotonic clock
16        8     unit number; the LUN field as it was sent where it names no unit; 0 where the event has none
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
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from iscsitools.probes.subscribers import Xfer
from iscsitools.probes.table import FIELDS, RESERVED_TAG, TAG, XFER_PROBES, Info, Probe
from iscsitools.trace.events import ConnectionStrings, Event

VERSION: Final = 1
"""Of the record, the messages and the file; a reader refuses another one."""
SIZE: Final = 128
WORDS: Final = SIZE // 8
CDB_IN_BHS: Final = 16

WHOLE: Final = struct.Struct("<QQQIIIII4x48s16s16x")

XFER_BODY: Final = struct.Struct("<IIQIII")
"""Of a transfer: ITT, TTT, address, offset, length, type."""

Names = Mapping[tuple[int, int], ConnectionStrings]
"""Strings by connection and generation."""


def decode(block: bytes | bytearray | memoryview, names: Names) -> Iterator[Event]:
    """Make typed events of whole records. ``names`` must have every connection that they name.

    Hot in readers: one unpack of the record and one of the header segment, no call in between.
    """
    probes, readers = _PROBES, _READERS
    for sequence, time, lun, ident, generation, number, sense, length, bhs, rest in WHOLE.iter_unpack(block):
        conn = names[ident, generation]
        probe = probes[number]
        reader = readers[number]
        if reader is None:
            xfer = Xfer(*XFER_BODY.unpack_from(bhs))
            info = Info(lun, xfer.itt, xfer.ttt, 0, 0, 0, 0, 0)
            yield Event(sequence, time, probe, conn, info, b"", 0, b"", sense, xfer)
        else:
            cdb = cdb_of(bhs, rest, length) if length else b""
            yield Event(sequence, time, probe, conn, reader(bhs, lun), cdb, length, bhs, sense, None)


def _reader(probe: Probe) -> Callable[[bytes, int], Info] | None:
    """Make what :func:`iscsitools.probes.table.info_of` does for one probe, with its look-ups done beforehand."""
    if probe in XFER_PROBES:
        return None
    places = FIELDS[probe]
    # Numbers of the header segment that the probe uses, by their place; after them the contract's constants.
    itt, ttt, cmdsn, statsn, datasn = (
        _WORDS.index(place) if place >= 0 else len(_WORDS) + (place == TAG) for place in places[:5]
    )
    length_mask = 0xFFFFFF if places.datalen else 0
    flags_mask = 0xFF if places.flags else 0
    data_send = probe is Probe.DATA_SEND

    def info(bhs: bytes, lun: int) -> Info:
        flags, lengths, *words = _HEADER(bhs)
        words += _CONSTANTS
        # Data-In has a StatSN with the S bit only (RFC 7143 11.7.4).
        stat = 0 if data_send and not flags & 1 else words[statsn]
        return Info(
            lun, words[itt], words[ttt], words[cmdsn], stat, words[datasn], lengths & length_mask, flags & flags_mask
        )

    return info


_WORDS: Final = (16, 20, 24, 28, 36)
_HEADER: Final = struct.Struct(">xB2xI8xIIII4xI8x").unpack
_CONSTANTS: Final = (0, RESERVED_TAG)
_PROBES: Final = tuple(Probe)
_READERS: Final = tuple(_reader(probe) for probe in Probe)


def cdb_of(bhs: bytes, rest: bytes, length: int) -> bytes:
    """Put the kept bytes of a CDB of the true ``length`` together."""
    if length <= CDB_IN_BHS:
        return bhs[32 : 32 + length]
    return (bhs[32:48] + rest)[:length]
