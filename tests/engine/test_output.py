"""Bounds on what waits to be sent."""

from __future__ import annotations

import hashlib
import tracemalloc

from iscsitools.backstores.base import FileRange
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator.pdu import NO_TAG, Opcode, make_bhs
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT

from .harness import Target, read10


class FileDisk(RamBackstore):
    """Has every long read sent from a file."""

    def try_range(self, offset: int, length: int) -> FileRange | None:
        return FileRange(-1, offset, length)


def test_reads_that_are_sent_from_a_file_wait_for_the_output_too():
    target = Target(size=64 << 20)
    wire = target.session()
    target.store.__class__ = FileDisk
    wire.feed(b"".join(wire.request(read10(n * 512, 512), read=262144) for n in range(100)))
    conn = wire.conn
    assert conn.stalled
    served = 0
    while pieces := conn.output():
        assert conn.out.unsent() <= OUTPUT_LIMIT + 262144 + 48
        served += sum(isinstance(piece, FileRange) for piece in pieces)
        conn.sent(sum(map(len, pieces)), target.now)
        if conn.stalled:
            conn.resume(target.now)
    assert served == 100
    assert not conn.stalled


def pings(keep: int) -> tuple[str, int]:
    """16 MB of answers, of which ``keep`` bytes always stay unsent: what went out, and the memory that is in use."""
    target = Target()
    wire = target.session()
    sent = hashlib.sha256()

    def send(count: int) -> None:
        sent.update(b"".join(wire.conn.output())[:count])
        wire.conn.sent(count, target.now)

    tracemalloc.start()
    try:
        for number in range(2000):
            bhs = make_bhs(Opcode.NOP_OUT, immediate=True, itt=number, ttt=NO_TAG, data_length=8000)
            wire.feed(bhs + bytes([number & 0xFF]) * 8000)
            if wire.conn.out.unsent() > 100_000:
                send(wire.conn.out.unsent() - keep)
        memory = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    send(wire.conn.out.unsent())
    return sent.hexdigest(), memory


def test_output_that_is_never_empty_keeps_no_more_memory_than_is_unsent():
    at_once, _ = pings(0)
    in_parts, memory = pings(20_000)
    assert in_parts == at_once
    assert memory < 4 << 20
