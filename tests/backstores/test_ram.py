"""What of the ``ram`` backstore the model test does not ask."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from iscsitools.backstores.base import Allocation, Backstore, Extent

MIB, PIB = 1 << 20, 1 << 50
MAPPED, HOLE = Allocation.MAPPED, Allocation.HOLE


def test_holes_are_as_large_as_they_are(opened: Callable[..., Backstore]) -> None:
    """GET LBA STATUS asks on the event loop: going through a petabyte by the MiB would stop it for an hour."""
    store = opened("ram:1P")
    assert list(islice(store.extents(0, PIB), 2)) == [Extent(0, PIB, HOLE)]
    store.write(5 * MIB + 512, memoryview(b"x" * MIB))
    store.write(PIB - 512, memoryview(b"y" * 512))
    assert list(islice(store.extents(0, PIB), 9)) == [
        Extent(0, 5 * MIB, HOLE),
        Extent(5 * MIB, MIB, MAPPED),
        Extent(6 * MIB, MIB, MAPPED),
        Extent(7 * MIB, PIB - 8 * MIB, HOLE),
        Extent(PIB - MIB, MIB, MAPPED),
    ]
    assert list(store.extents(6 * MIB + 1024, 512)) == [Extent(6 * MIB + 1024, 512, MAPPED)]
    assert list(store.extents(7 * MIB - 512, 1024)) == [
        Extent(7 * MIB - 512, 512, MAPPED),
        Extent(7 * MIB, 512, HOLE),
    ]
