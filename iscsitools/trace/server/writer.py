"""The calls that write records: what runs for every event while somebody records."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from iscsitools.probes.sites import ConnectionInfo, PduCall, XferCall
from iscsitools.trace.record import LONG_PDU, PDU, XFER

_BHS: Final = struct.Struct("48s").unpack_from
_MASK32: Final = 0xFFFFFFFF


class Writer(NamedTuple):
    """The two calls; how many records they have written; and what takes back the granted records not used yet."""

    pdu: PduCall
    xfer: XferCall
    written: Callable[[], int]
    revoke: Callable[[], None]


def make_writer(
    memory: memoryview,
    words: memoryview,
    capacity: int,
    lun_wanted: int | None,
    clock: Callable[[], int],
    fail: Callable[[Exception], None],
    introduce: Callable[[ConnectionInfo], bool],
    grant: Callable[[int], int],
) -> Writer:
    """Make the calls that write to ``memory``, ``capacity`` records (a power of two) used in a circle.

    ``words`` is the same memory as 64-bit words.

    ``introduce`` is called for a connection, or new strings of it, before its first record, and says whether its
    records are wanted. ``grant`` is called with the number of records written when no more may be, and returns up to
    which number they may; the same number is a drop. What it grants it has marked as not written: a record is there
    from the moment when its sequence number, stored last and at once as an aligned word, stands in it.

    Hot: four calls for a 4 KB read. One pack and one word stored per record; benchmarks/trace_cost.py measures it.
    """
    mask = capacity - 1
    pack, pack_long, pack_xfer = PDU.pack_into, LONG_PDU.pack_into, XFER.pack_into
    written = limit = 0
    last: ConnectionInfo | None = None
    ident = generation = -1

    def turn_to(conn: ConnectionInfo) -> bool:
        nonlocal last, ident, generation
        last = None
        if not introduce(conn):
            return False
        last, ident, generation = conn, conn.ident, conn.generation
        return True

    def more() -> bool:
        nonlocal limit
        limit = grant(written)
        return limit != written

    def pdu(
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: bytes | bytearray | memoryview,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        nonlocal written
        try:
            if lun_wanted is not None and lun != lun_wanted:
                return
            if (conn is not last or conn.generation != generation) and not turn_to(conn):
                return
            if written == limit and not more():
                return
            slot = written & mask
            (bhs,) = _BHS(buffer, offset)
            length = len(cdb)
            if length <= 16:
                pack(memory, (slot << 7) + 8, clock(), lun, ident, generation & _MASK32, probe, sense, length, bhs)
            else:
                at = (slot << 7) + 8
                pack_long(
                    memory, at, clock(), lun, ident, generation & _MASK32, probe, sense, length, bhs, cdb[16:32]
                )  # fmt: skip
            written += 1
            words[slot << 4] = written
        except Exception as error:
            fail(error)

    def xfer(
        probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
    ) -> None:
        nonlocal written
        try:
            if lun_wanted is not None and lun != lun_wanted:
                return
            if (conn is not last or conn.generation != generation) and not turn_to(conn):
                return
            if written == limit and not more():
                return
            slot = written & mask
            pack_xfer(
                memory, (slot << 7) + 8, clock(), lun, ident, generation & _MASK32, probe, 0, 0,
                itt, ttt, laddr, loffset, length, kind,
            )  # fmt: skip
            written += 1
            words[slot << 4] = written
        except Exception as error:
            fail(error)

    def revoke() -> None:
        nonlocal limit
        limit = written

    return Writer(pdu, xfer, lambda: written, revoke)
