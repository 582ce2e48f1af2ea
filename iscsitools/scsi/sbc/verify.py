"""VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE (SBC-3 5.2, 5.5, 5.29 to 5.31, 5.37 to 5.39)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from iscsitools.backstores.base import Backstore
from iscsitools.scsi.core.cdb import u64
from iscsitools.scsi.core.command import Call, Work
from iscsitools.scsi.core.errors import check_condition, illegal_request, invalid_field
from iscsitools.scsi.sbc.read_write import arrived_blocks, check_transfer, check_write, has_fua
from iscsitools.wire.sense import Asc, SenseKey

_PIECE = 1 << 20
_NO_DATA, _ALL_DATA, _ONE_BLOCK = 0, 1, 3


def first_difference(one: bytes | memoryview, other: bytes | memoryview) -> int:
    """The index of the first byte that differs between two buffers of one length; -1: none does."""
    if one == other:
        return -1
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) - (difference.bit_length() + 7) // 8


def check_verify(call: Call) -> None:
    """VERIFY: BYTCHK says how much data-out there is: none, all blocks, or one block for all (3)."""
    byte_check = call.task.cdb[1] >> 1 & 3
    if byte_check == 2:
        raise invalid_field(1, 2)
    check_transfer(call)
    if byte_check == _NO_DATA:
        call.task.transfer_length = 0
    else:
        blocks = min(call.blocks, 1) if byte_check == _ONE_BLOCK else call.blocks
        call.take(blocks * call.unit.block_size)


def verify(call: Call) -> Work | None:
    """VERIFY(10), (12), (16): the blocks can be read, and with BYTCHK they are equal to the data-out."""
    byte_check = call.task.cdb[1] >> 1 & 3
    size = call.unit.block_size
    data = arrived_blocks(call)
    if byte_check == _NO_DATA:
        return partial(_read_all, call.unit.store, call.lba * size, call.blocks * size)
    if not data:
        return None
    if byte_check == _ONE_BLOCK:
        data = memoryview(bytes(data) * call.blocks)
    return partial(_compare, call.unit.store, call.lba, size, data)


def _read_all(store: Backstore, offset: int, length: int) -> None:
    piece = memoryview(bytearray(min(length, _PIECE)))
    while length > 0:
        n = min(length, len(piece))
        store.read_into(offset, piece[:n])
        offset += n
        length -= n


def _compare(store: Backstore, lba: int, block_size: int, data: memoryview) -> None:
    """Raise MISCOMPARE with the first block that is not equal (SBC-3 4.18.1)."""
    found = memoryview(bytearray(len(data)))
    store.read_into(lba * block_size, found)
    index = first_difference(found, data)
    if index >= 0:
        raise check_condition(SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY, lba + index // block_size)


def check_write_and_verify(call: Call) -> None:
    """WRITE AND VERIFY: BYTCHK is 0 or 1."""
    if call.task.cdb[1] & 0x04:
        raise invalid_field(1, 2)
    check_write(call)


def write_and_verify(call: Call) -> Work | None:
    """WRITE AND VERIFY(10), (12), (16): durable, read back, and compared.

    BYTCHK 0 asks only that the blocks can be read; the comparison costs little beside that.
    """
    data = arrived_blocks(call)
    unit = call.unit
    return partial(_write_and_compare, unit.store, call.lba, unit.block_size, data) if data else None


def _write_and_compare(store: Backstore, lba: int, block_size: int, data: memoryview) -> None:
    store.write_through(lba * block_size, data)
    _compare(store, lba, block_size, data)


def _writer(call: Call) -> Callable[[int, memoryview], None]:
    """The backstore's method that makes the command's write as durable as it has to be."""
    unit = call.unit
    return unit.store.write_through if unit.must_write_through(has_fua(call.task.cdb)) else unit.store.write


def check_compare_and_write(call: Call) -> None:
    """COMPARE AND WRITE: twice the blocks of data-out, and no other length: half of it would be taken for data."""
    cdb, unit, task = call.task.cdb, call.unit, call.task
    call.lba, call.blocks = u64(cdb, 2), cdb[13]
    if call.lba + call.blocks > unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)
    length = 2 * call.blocks * unit.block_size
    if length != (task.edtl if task.writes else 0):
        raise invalid_field(13, 7)
    call.take(length)


def compare_and_write(call: Call) -> Work | None:
    """COMPARE AND WRITE: the second half of the data-out is written if the first is what the medium holds."""
    data, unit = call.task.data_out, call.unit
    if not data:
        return None
    return partial(_compare_and_write, unit.store, call.lba * unit.block_size, data, _writer(call))


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


def orwrite(call: Call) -> Work | None:
    """ORWRITE(16): what the medium holds OR the data-out is written."""
    data, unit = arrived_blocks(call), call.unit
    return partial(_or_write, unit.store, call.lba * unit.block_size, data, _writer(call)) if data else None


def _or_write(store: Backstore, offset: int, data: memoryview, write: Callable[[int, memoryview], None]) -> None:
    found = memoryview(bytearray(len(data)))
    store.read_into(offset, found)
    result = int.from_bytes(found, "little") | int.from_bytes(data, "little")
    write(offset, memoryview(result.to_bytes(len(data), "little")))
