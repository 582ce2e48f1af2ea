"""UNMAP, WRITE SAME and GET LBA STATUS (SBC-3 5.4, 5.28, 5.39, 5.40)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from itertools import islice

from iscsitools.backstores.base import Allocation
from iscsitools.scsi.cdb import block_range, length_field, u16, u32, u64
from iscsitools.scsi.command import Call, Work
from iscsitools.scsi.errors import illegal_request, invalid_field, invalid_parameter, parameter_list_length_error
from iscsitools.scsi.sense import Asc

_PIECE = 1 << 20
_UNMAP, _NDOB = 0x08, 0x01
_HEADER, _DESCRIPTOR = 8, 16


def check_unmap(call: Call) -> None:
    """UNMAP: the parameter list is empty or has at least its header."""
    length = u16(call.task.cdb, 7)
    if 0 < length < _HEADER:
        raise parameter_list_length_error()
    call.take(length)


def unmap(call: Call) -> Work | None:
    """UNMAP: gives back the ranges of the descriptors; all of them are checked before the first is touched."""
    data = call.parameters()
    if not data:
        return None
    unit = call.unit
    length = u16(data, 2)
    if length > len(data) - _HEADER:
        raise parameter_list_length_error()
    if length // _DESCRIPTOR > unit.limits.unmap_descriptors:
        raise invalid_parameter(2, 7)
    ranges = []
    for at in range(_HEADER, _HEADER + length // _DESCRIPTOR * _DESCRIPTOR, _DESCRIPTOR):
        lba, blocks = u64(data, at), u32(data, at + 8)
        if lba + blocks > unit.blocks:
            raise illegal_request(Asc.LBA_OUT_OF_RANGE)
        if blocks:
            ranges.append((lba, blocks))
    return partial(_discard, call, ranges) if ranges else None


def _discard(call: Call, ranges: list[tuple[int, int]]) -> None:
    store, size = call.unit.store, call.unit.block_size
    for lba, blocks in ranges:
        store.discard(lba * size, blocks * size)
    _finish(call)


def _finish(call: Call) -> None:
    """Make the change durable if the write cache is off."""
    if call.unit.must_write_through(fua=False):
        call.unit.store.flush()


def check_write_same(call: Call) -> None:
    """WRITE SAME: one block of data-out, and no other length; UNMAP only on a thin unit; not above the maximum.

    0 blocks means up to the last block (WSNZ 0), which may not pass the maximum either.
    """
    cdb, unit, task = call.task.cdb, call.unit, call.task
    if cdb[1] & _UNMAP and not unit.thin:
        raise invalid_field(1, 3)
    call.lba, call.blocks = block_range(cdb)
    if call.lba + call.blocks > unit.blocks or call.lba >= unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)
    call.blocks = call.blocks or unit.blocks - call.lba
    if call.blocks > unit.limits.write_same:
        raise invalid_field(length_field(cdb), 7)
    length = 0 if cdb[1] & _NDOB else unit.block_size
    if length != (task.edtl if task.writes else 0):
        raise invalid_field(length_field(cdb), 7)
    call.take(length)


def write_same(call: Call) -> Work:
    """WRITE SAME(10), (16): zeros are written as zeros, or discarded with UNMAP, as unmapped blocks read as zeros.

    With UNMAP and other data the blocks are written (SBC-3 4.7.3.4.4).
    """
    block = bytes(call.task.data_out)
    if any(block):
        return partial(_write_block, call, block)
    return partial(_write_zeros, call, bool(call.task.cdb[1] & _UNMAP))


def _write_zeros(call: Call, discard: bool) -> None:
    store, size = call.unit.store, call.unit.block_size
    (store.discard if discard else store.write_zeroes)(call.lba * size, call.blocks * size)
    _finish(call)


def _write_block(call: Call, block: bytes) -> None:
    store = call.unit.store
    length = call.blocks * len(block)
    piece = memoryview(block * (min(length, _PIECE) // len(block)))
    offset, end = call.lba * len(block), call.lba * len(block) + length
    while offset < end:
        n = min(end - offset, len(piece))
        store.write(offset, piece[:n])
        offset += n
    _finish(call)


_STATUS = {Allocation.MAPPED: 0, Allocation.HOLE: 1, Allocation.ZERO: 2}
_MOST_DESCRIPTORS = 1024


def check_lba_status(call: Call) -> None:
    """GET LBA STATUS: the starting LBA must be inside the unit."""
    call.lba = u64(call.task.cdb, 2)
    if call.lba >= call.unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)


def lba_status(call: Call) -> Work:
    """GET LBA STATUS: descriptors from the very LBA that was asked for, as many as the initiator has room for."""
    return partial(_lba_status, call)


def _lba_status(call: Call) -> bytes:
    allocation = u32(call.task.cdb, 10)
    count = min(max(1, (allocation - _HEADER) // _DESCRIPTOR), _MOST_DESCRIPTORS)
    body = b"".join(
        struct.pack(">QIB3x", lba, blocks, status) for lba, blocks, status in islice(_descriptors(call), count)
    )
    return (struct.pack(">I4x", len(body) + 4) + body)[:allocation]


def _descriptors(call: Call) -> Iterator[tuple[int, int, int]]:
    """(LBA, blocks, provisioning status) of the extents from the call's LBA on; equal neighbours are one."""
    unit = call.unit
    size = unit.block_size
    first, blocks, status = call.lba, 0, -1
    for extent in unit.store.extents(call.lba * size, (unit.blocks - call.lba) * size):
        found = _STATUS[extent.state]
        if blocks and (found != status or blocks + extent.length // size > 0xFFFFFFFF):
            yield first, blocks, status
            first, blocks = first + blocks, 0
        status = found
        blocks += extent.length // size
    if blocks:
        yield first, min(blocks, 0xFFFFFFFF), status
