"""The calls that write records: what runs for every event while somebody records."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from iscsitools.probes.firing import XFER_READ, XFER_WRITE
from iscsitools.probes.subscribers import Buffer, Calls, ConnectionInfo, Mark
from iscsitools.probes.table import RESERVED_TAG
from iscsitools.trace.memory import FencedWords

_BHS: Final = struct.Struct("48s").unpack_from
_MASK32: Final = 0xFFFFFFFF
# Records as trace.record describes them, without the sequence number; connection and generation are one number.
_PDU: Final = struct.Struct("<QQQIII4x48s32x")
_LONG_PDU: Final = struct.Struct("<QQQIII4x48s16s16x")
_XFER: Final = struct.Struct("<QQQI12xIIQIII52x")
# The three records of a read and the four of a write, with their (spoiled) sequence numbers in between.
_COMMAND: Final = "QQQI4xI4x48s32x"
_IMMEDIATE: Final = "QQQI12xIIQ4xII52x"
_ANSWER: Final = "QQQI12x48s32x"
_READ: Final = struct.Struct("<" + "8x".join((_COMMAND, _IMMEDIATE, _ANSWER)))
_WRITE: Final = struct.Struct("<" + "8x".join((_COMMAND, _IMMEDIATE, _IMMEDIATE, _ANSWER)))


class Writer(NamedTuple):
    """The calls; how many records they have written; and what takes back the granted records not used yet."""

    calls: Calls
    written: Callable[[], int]
    revoke: Callable[[], None]


def make_writer(
    memory: memoryview,
    words: memoryview | FencedWords,
    capacity: int,
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
    pack, pack_long, pack_xfer, bhs_at = _PDU.pack_into, _LONG_PDU.pack_into, _XFER.pack_into, _BHS
    pack_read, pack_write = _READ.pack_into, _WRITE.pack_into
    written = limit = 0
    last: ConnectionInfo | None = None
    generation = -1
    source = 0

    def turn_to(conn: ConnectionInfo) -> bool:
        nonlocal last, source, generation
        last = None
        if not introduce(conn):
            return False
        last, generation = conn, conn.generation
        source = conn.ident | (generation & _MASK32) << 32
        return True

    def more() -> bool:
        nonlocal limit
        limit = grant(written)
        return limit != written

    def pdu(
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: Buffer,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        nonlocal written
        try:
            if (conn is not last or conn.generation != generation) and not turn_to(conn):
                return
            if written == limit and not more():
                return
            slot = written & mask
            length = len(cdb)
            if length <= 16:  # all of it is in the BHS
                pack(memory, (slot << 7) + 8, clock(), lun, source, probe, sense, length, bhs_at(buffer, offset)[0])
            else:
                (bhs,) = bhs_at(buffer, offset)
                pack_long(memory, (slot << 7) + 8, clock(), lun, source, probe, sense, length, bhs, cdb[16:32])
            written += 1
            words[slot << 4] = written
        except Exception as error:
            fail(error)

    def xfer(
        probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
    ) -> None:
        nonlocal written
        try:
            if (conn is not last or conn.generation != generation) and not turn_to(conn):
                return
            if written == limit and not more():
                return
            slot = written & mask
            pack_xfer(memory, (slot << 7) + 8, clock(), lun, source, probe, itt, ttt, laddr, loffset, length, kind)
            written += 1
            words[slot << 4] = written
        except Exception as error:
            fail(error)

    def put(body: bytes) -> None:
        """Write one record: what a read or a write does where its records do not fit into what was granted."""
        nonlocal written
        if written == limit and not more():
            return
        slot = written & mask
        memory[(slot << 7) + 8 : slot + 1 << 7] = body
        written += 1
        words[slot << 4] = written

    def read(
        began: int, conn: ConnectionInfo, lun: int, operation: int, itt: int, address: int, length: int,
        request: Buffer, at: int, answer: Buffer, answer_at: int,
    ) -> None:  # fmt: skip
        nonlocal written
        try:
            if (conn is not last or conn.generation != generation) and not turn_to(conn):
                return
            if limit - written < 3:
                put(_PDU.pack(began, lun, source, 6, 0, 10 if operation < 0x8000 else 16, bhs_at(request, at)[0]))
                put(_XFER.pack(clock(), lun, source, 16, itt, RESERVED_TAG, address, 0, length, XFER_READ))
                put(_PDU.pack(clock(), lun, source, 8, 0, 0, bhs_at(answer, answer_at)[0]))
                return
            slot = written & mask
            pack_read(
                memory, (slot << 7) + 8,
                began, lun, source, 6, 10 if operation < 0x8000 else 16, bhs_at(request, at)[0],
                clock(), lun, source, 16, itt, RESERVED_TAG, address, length, XFER_READ,
                clock(), lun, source, 8, bhs_at(answer, answer_at)[0],
            )  # fmt: skip
            words[slot << 4] = written + 1
            words[slot + 1 << 4] = written + 2
            written += 3
            words[slot + 2 << 4] = written
        except Exception as error:
            fail(error)

    def write(
        began: int, started: int, moved: int, conn: ConnectionInfo, lun: int, operation: int, itt: int,
        address: int, length: int, request: Buffer, at: int, answer: Buffer, answer_at: int,
    ) -> None:  # fmt: skip
        nonlocal written
        try:
            if (conn is not last or conn.generation != generation) and not turn_to(conn):
                return
            if limit - written < 4:
                put(_PDU.pack(began, lun, source, 6, 0, 10 if operation < 0x8000 else 16, bhs_at(request, at)[0]))
                put(_XFER.pack(started, lun, source, 16, itt, RESERVED_TAG, address, 0, length, XFER_WRITE))
                put(_XFER.pack(moved, lun, source, 17, itt, RESERVED_TAG, address, 0, length, XFER_WRITE))
                put(_PDU.pack(clock(), lun, source, 7, 0, 0, bhs_at(answer, answer_at)[0]))
                return
            slot = written & mask
            pack_write(
                memory, (slot << 7) + 8,
                began, lun, source, 6, 10 if operation < 0x8000 else 16, bhs_at(request, at)[0],
                started, lun, source, 16, itt, RESERVED_TAG, address, length, XFER_WRITE,
                moved, lun, source, 17, itt, RESERVED_TAG, address, length, XFER_WRITE,
                clock(), lun, source, 7, bhs_at(answer, answer_at)[0],
            )  # fmt: skip
            words[slot << 4] = written + 1
            words[slot + 1 << 4] = written + 2
            words[slot + 2 << 4] = written + 3
            written += 4
            words[slot + 3 << 4] = written
        except Exception as error:
            fail(error)

    def sent(conn: ConnectionInfo, marks: deque[Mark], upto: int) -> None:
        nonlocal written
        try:
            wanted = (conn is last and conn.generation == generation) or turn_to(conn)
            while marks and marks[0][0] <= upto:
                _, lun, itt, address, offset, length = marks.popleft()
                if wanted and (written != limit or more()):
                    slot = written & mask
                    pack_xfer(
                        memory, (slot << 7) + 8, clock(), lun, source, 17, itt, RESERVED_TAG, address, offset, length,
                        XFER_READ,
                    )  # fmt: skip
                    written += 1
                    words[slot << 4] = written
        except Exception as error:
            fail(error)

    def revoke() -> None:
        nonlocal limit
        limit = written

    return Writer(Calls(pdu, xfer, read, write, sent), lambda: written, revoke)
