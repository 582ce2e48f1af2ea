"""VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE (SBC-3 5.2, 5.5, 5.29 to 5.31, 5.37 to 5.39)."""

from __future__ import annotations

from iscsitools.backstores.asynchronous import Operation, Request, first_difference, read_request, write_request
from iscsitools.scsi.core.cdb import u64
from iscsitools.scsi.core.errors import illegal_request, invalid_field, miscompare
from iscsitools.scsi.core.executor import PIECE, Steps, Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.sbc.pieces import in_pieces
from iscsitools.scsi.sbc.read_write import arrived_blocks, check_transfer, check_write, has_fua, take_blocks
from iscsitools.wire.sense import Asc

_NO_DATA, _ALL_DATA, _ONE_BLOCK = 0, 1, 3


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
        return _read_all(task.lba * size, task.blocks * size)
    if not data:
        return None
    if byte_check == _ONE_BLOCK:
        return _compare(task.lba, task.blocks, size, memoryview(bytes(data) * (PIECE // size)))
    return _compare(task.lba, len(data) // size, size, data)


def _read_all(offset: int, length: int) -> Steps:
    buffer = memoryview(bytearray(min(length, PIECE)))
    return in_pieces(lambda at, n: read_request(at, buffer[:n]), offset, length)


def _compare(lba: int, blocks: int, block_size: int, data: memoryview) -> Steps:
    """Raise MISCOMPARE with the first block that is not equal (SBC-3 4.18.1).

    ``data`` is as long as the blocks, or it is one piece of equal blocks for all of them.
    """
    start, length = lba * block_size, blocks * block_size
    buffer = memoryview(bytearray(min(length, PIECE)))

    for request in in_pieces(lambda at, n: read_request(at, buffer[:n]), start, length):
        yield request
        at, n = request.offset, request.length
        first = at - start if len(data) == length else 0
        index = first_difference(buffer[:n], data[first : first + n])
        if index >= 0:
            raise miscompare((at + index) // block_size)


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
    return _write_and_compare(task.lba, unit.block_size, data) if data else None


def _write_and_compare(lba: int, block_size: int, data: memoryview) -> Steps:
    yield write_request(lba * block_size, data, durable=True)
    yield from _compare(lba, len(data) // block_size, block_size, data)


def _is_durable(task: Task) -> bool:
    """Whether the command's write has to be on stable storage before its status."""
    return task.unit.must_write_through(has_fua(task.cdb))


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
    half = len(data) // 2
    offset, durable = task.lba * unit.block_size, _is_durable(task)
    return Request(Operation.COMPARE_AND_WRITE, offset, half, data[half:], durable, data[:half])


def orwrite(task: Task) -> Work | None:
    """ORWRITE(16): what the medium holds OR the data-out is written."""
    data, unit = arrived_blocks(task), task.unit
    return _or_write(task.lba * unit.block_size, data, _is_durable(task)) if data else None


def _or_write(offset: int, data: memoryview, durable: bool) -> Steps:
    buffer = memoryview(bytearray(min(len(data), PIECE)))
    for request in in_pieces(lambda at, n: read_request(at, buffer[:n]), offset, len(data)):
        yield request
        at, n = request.offset, request.length
        result = int.from_bytes(buffer[:n], "little") | int.from_bytes(data[at - offset :][:n], "little")
        yield write_request(at, memoryview(result.to_bytes(n, "little")), durable)
