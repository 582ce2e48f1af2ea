"""Bounds on what waits to be sent."""

from __future__ import annotations

from iscsitools.backstores.base import FileRange
from iscsitools.backstores.ram import RamBackstore
from iscsitools.iscsi.connection import OUTPUT_LIMIT

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
