"""UNMAP, WRITE SAME and GET LBA STATUS (SBC-3 5.4, 5.28, 5.43, 5.44)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from itertools import islice

from iscsitools.backstores.asynchronous import Operation, Request, flush_request, write_request
from iscsitools.backstores.base import Allocation, Backstore
from iscsitools.scsi.core.cdb import block_range, length_field, u16, u32, u64
from iscsitools.scsi.core.errors import illegal_request, invalid_field, invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.executor import PIECE, Steps, Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.sbc.pieces import in_pieces, light_piece
from iscsitools.wire.sense import Asc

_UNMAP, _NDOB = 0x08, 0x01
_HEADER, _DESCRIPTOR = 8, 16


def check_unmap(task: Task) -> None:
    """UNMAP: the parameter list is empty or has at least its header."""
    length = u16(task.cdb, 7)
    if 0 < length < _HEADER:
        raise parameter_list_length_error()
    task.take(length)


def locate_unmap(task: Task) -> None:
    """The task's range is from the first block of the list to its last."""
    ranges = _ranges(task)
    if ranges:
        task.lba = min(lba for lba, _ in ranges)
        task.blocks = max(lba + blocks for lba, blocks in ranges) - task.lba


def _ranges(task: Task) -> list[tuple[int, int]]:
    """The (LBA, number of blocks) of the descriptors; raises when one of them is wrong."""
    data = task.parameters()
    if not data:
        return []
    unit, length = task.unit, u16(data, 2)
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
    return ranges


def unmap(task: Task) -> Work | None:
    """UNMAP: gives back the ranges of the descriptors; all of them are checked before the first is touched."""
    ranges = _ranges(task)
    return _durable(task, _discard(task.unit.store, task.unit.block_size, ranges)) if ranges else None


def _discard(store: Backstore, block_size: int, ranges: list[tuple[int, int]]) -> Steps:
    discard = partial(Request, Operation.DISCARD)
    for lba, blocks in ranges:
        yield from in_pieces(discard, lba * block_size, blocks * block_size, light_piece(store))


def _durable(task: Task, work: Steps) -> Steps:
    """``work``, with a flush after it if the write cache is off."""
    yield from work
    if task.unit.must_write_through(fua=False):
        yield flush_request()


def check_write_same(task: Task) -> None:
    """WRITE SAME: one block of data-out, and no other length; UNMAP only on a thin unit; not above the maximum.

    0 blocks means up to the last block (WSNZ 0), which may not pass the maximum either.
    """
    cdb, unit = task.cdb, task.unit
    if cdb[1] & _UNMAP and not unit.thin:
        raise invalid_field(1, 3)
    task.lba, task.blocks = block_range(cdb)
    if task.lba + task.blocks > unit.blocks or task.lba >= unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)
    task.blocks = task.blocks or unit.blocks - task.lba
    if task.blocks > unit.limits.write_same:
        raise invalid_field(length_field(cdb), 7)
    length = 0 if cdb[1] & _NDOB else unit.block_size
    if length != (task.edtl if task.writes else 0):
        raise invalid_field(length_field(cdb), 7)
    task.take(length)


def write_same(task: Task) -> Work:
    """WRITE SAME(10), (16): zeros are written as zeros, or discarded with UNMAP, as unmapped blocks read as zeros.

    With UNMAP and other data the blocks are written (SBC-3 4.7.3.4.4).
    """
    unit, block = task.unit, bytes(task.data_out)
    offset, length = task.lba * unit.block_size, task.blocks * unit.block_size
    if any(block):
        return _durable(task, _write_block(offset, length, block))
    zero = partial(Request, Operation.DISCARD if task.cdb[1] & _UNMAP else Operation.WRITE_ZEROES)
    return _durable(task, in_pieces(zero, offset, length, light_piece(unit.store)))


def _write_block(offset: int, length: int, block: bytes) -> Steps:
    data = memoryview(block * (min(length, PIECE) // len(block)))
    return in_pieces(lambda at, n: write_request(at, data[:n]), offset, length)


_STATUS = {Allocation.MAPPED: 0, Allocation.HOLE: 1, Allocation.ZERO: 2}
_MOST_DESCRIPTORS = 1024
_MOST_BLOCKS = 0xFFFFFFFF


def check_lba_status(task: Task) -> None:
    """GET LBA STATUS: the starting LBA must be inside the unit."""
    task.lba = u64(task.cdb, 2)
    if task.lba >= task.unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)


def lba_status(task: Task) -> Work:
    """GET LBA STATUS: descriptors from the very LBA that was asked for, as many as the initiator has room for."""
    unit, allocation = task.unit, u32(task.cdb, 10)
    count = min(max(1, (allocation - _HEADER) // _DESCRIPTOR), _MOST_DESCRIPTORS)
    return partial(_lba_status, task, unit.store, range(task.lba, unit.blocks), count, allocation)


def _lba_status(task: Task, store: Backstore, lbas: range, count: int, allocation: int) -> None:
    descriptors = islice(_descriptors(store, task.unit.block_size, lbas), count)
    body = b"".join(struct.pack(">QIB3x", lba, blocks, status) for lba, blocks, status in descriptors)
    task.result = (struct.pack(">I4x", len(body) + 4) + body)[:allocation]


def _descriptors(store: Backstore, block_size: int, lbas: range) -> Iterator[tuple[int, int, int]]:
    """(LBA, blocks, provisioning status) of the extents of ``lbas``; equal neighbours are one."""
    first, blocks, status = lbas.start, 0, -1
    for extent in store.extents(lbas.start * block_size, len(lbas) * block_size):
        found = _STATUS[extent.state]
        if found != status:
            yield from _pieces(first, blocks, status)
            first, blocks, status = first + blocks, 0, found
        blocks += extent.length // block_size
    yield from _pieces(first, blocks, status)


def _pieces(first: int, blocks: int, status: int) -> Iterator[tuple[int, int, int]]:
    """A run of blocks as descriptors, whose NUMBER OF LOGICAL BLOCKS has 32 bits."""
    while blocks:
        n = min(blocks, _MOST_BLOCKS)
        yield first, n, status
        first += n
        blocks -= n
