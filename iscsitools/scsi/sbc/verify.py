"""VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE (SBC-3 5.2, 5.5, 5.29 to 5.31, 5.37 to 5.39)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from iscsitools.backstores.base import Backstore
from iscsitools.scsi.core.cdb import u64
from iscsitools.scsi.core.errors import check_condition, illegal_request, invalid_field
from iscsitools.scsi.core.executor import PIECE, Steps, Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.sbc.pieces import in_pieces
from iscsitools.scsi.sbc.read_write import arrived_blocks, check_transfer, check_write, has_fua, take_blocks
from iscsitools.wire.sense import Asc, SenseKey

_NO_DATA, _ALL_DATA, _ONE_BLOCK = 0, 1, 3


def first_difference(one: bytes | memoryview, other: bytes | memoryview) -> int:
    """The index of the first byte that differs between two buffers of one length; -1: none does."""
    if one == other:
        return -1
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) - (difference.bit_length() + 7) // 8


def check_verify(task: Task) -> None:
    """VERIFY: BYTCHK says how much data-out there is: none, all blocks, or one block for all (3)."""
    byte_check = task.cdb[1] >> 1 & 3
    if byte_check == 2:
        raise invalid_field(1, 2)
    check_transfer(task)
    if byte_check == _NO_DATA:
        task.transfer_length = 0
    else:
        blocks = min(task.blocks, 1) if byte_check == _ONE_BLOCK else task.blocks
        take_blocks(task, blocks)


def verify(task: Task) -> Work | None:
    """VERIFY(10), (12), (16): the blocks can be read, and with BYTCHK they are equal to the data-out."""
    byte_check = task.cdb[1] >> 1 & 3
    size = task.unit.block_size
    data = arrived_blocks(task)
    if byte_check == _NO_DATA:
        return _read_all(task.unit.store, task.lba * size, task.blocks * size)
    if not data:
        return None
    if byte_check == _ONE_BLOCK:
        return _compare(task.unit.store, task.lba, task.blocks, size, memoryview(bytes(data) * (PIECE // size)))
    return _compare(task.unit.store, task.lba, len(data) // size, size, data)


def _read_all(store: Backstore, offset: int, length: int) -> Steps:
    buffer = memoryview(bytearray(min(length, PIECE)))
    return in_pieces(lambda at, n: store.read_into(at, buffer[:n]), offset, length)


def _compare(store: Backstore, lba: int, blocks: int, block_size: int, data: memoryview) -> Steps:
    """Raise MISCOMPARE with the first block that is not equal (SBC-3 4.18.1).

    ``data`` is as long as the blocks, or it is one piece of equal blocks for all of them.
    """
    start, length = lba * block_size, blocks * block_size
    buffer = memoryview(bytearray(min(length, PIECE)))

    def compare(at: int, n: int) -> None:
        store.read_into(at, buffer[:n])
        first = at - start if len(data) == length else 0
        index = first_difference(buffer[:n], data[first : first + n])
        if index >= 0:
            raise check_condition(SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY, (at + index) // block_size)

    return in_pieces(compare, start, length)


def check_write_and_verify(task: Task) -> None:
    """WRITE AND VERIFY: BYTCHK is 0 or 1."""
    if task.cdb[1] & 0x04:
        raise invalid_field(1, 2)
    check_write(task)


def write_and_verify(task: Task) -> Work | None:
    """WRITE AND VERIFY(10), (12), (16): durable, read back, and compared.

    BYTCHK 0 asks only that the blocks can be read; the comparison costs little beside that.
    """
    data = arrived_blocks(task)
    unit = task.unit
    return _write_and_compare(unit.store, task.lba, unit.block_size, data) if data else None


def _write_and_compare(store: Backstore, lba: int, block_size: int, data: memoryview) -> Steps:
    store.write_through(lba * block_size, data)
    yield
    yield from _compare(store, lba, len(data) // block_size, block_size, data)


def _writer(task: Task) -> Callable[[int, memoryview], None]:
    """The backstore's method that makes the command's write as durable as it has to be."""
    unit = task.unit
    return unit.store.write_through if unit.must_write_through(has_fua(task.cdb)) else unit.store.write


def check_compare_and_write(task: Task) -> None:
    """COMPARE AND WRITE: twice the blocks of data-out, and no other length: half of it would be taken for data."""
    cdb, unit = task.cdb, task.unit
    task.lba, task.blocks = u64(cdb, 2), cdb[13]
    if task.lba + task.blocks > unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)
    length = 2 * task.blocks * unit.block_size
    if length != (task.edtl if task.writes else 0):
        raise invalid_field(13, 7)
    task.take(length)


def compare_and_write(task: Task) -> Work | None:
    """COMPARE AND WRITE: the second half of the data-out is written if the first is what the medium holds."""
    data, unit = task.data_out, task.unit
    if not data:
        return None
    return partial(_compare_and_write, unit.store, task.lba * unit.block_size, data, _writer(task))


def _compare_and_write(
    store: Backstore, offset: int, data: memoryview, write: Callable[[int, memoryview], None]
) -> None:
    half = len(data) // 2
    found = memoryview(bytearray(half))
    store.read_into(offset, found)
    index = first_difference(found, data[:half])
    if index >= 0:  # INFORMATION is the offset into the data-out here (SBC-3 5.2)
        raise check_condition(SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY, index)
    write(offset, data[half:])


def orwrite(task: Task) -> Work | None:
    """ORWRITE(16): what the medium holds OR the data-out is written."""
    data, unit = arrived_blocks(task), task.unit
    return _or_write(unit.store, task.lba * unit.block_size, data, _writer(task)) if data else None


def _or_write(store: Backstore, offset: int, data: memoryview, write: Callable[[int, memoryview], None]) -> Steps:
    buffer = memoryview(bytearray(min(len(data), PIECE)))

    def or_write(at: int, n: int) -> None:
        store.read_into(at, buffer[:n])
        result = int.from_bytes(buffer[:n], "little") | int.from_bytes(data[at - offset :][:n], "little")
        write(at, memoryview(result.to_bytes(n, "little")))

    return in_pieces(or_write, offset, len(data))
