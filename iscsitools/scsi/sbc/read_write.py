"""READ, WRITE and PRE-FETCH (SBC-3 5.8, 5.9, 5.11 to 5.13, 5.33 to 5.35)."""

from __future__ import annotations

from iscsitools.backstores.asynchronous import flush_request, read_request, write_request
from iscsitools.scsi.core.cdb import block_range, length_field
from iscsitools.scsi.core.errors import illegal_request, invalid_field
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.gate import READ_BYTES, READS, WRITES, WRITTEN_BYTES
from iscsitools.scsi.core.task import Task
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc

_FUA = 0x08


def check_range(task: Task) -> None:
    """Find the CDB's range of blocks, which must be inside the unit (SBC-3 4.5.4)."""
    task.lba, task.blocks = block_range(task.cdb)
    if task.lba + task.blocks > task.unit.blocks:
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)


def check_transfer(task: Task) -> None:
    """As check_range; the length may not pass the Block Limits page's MAXIMUM TRANSFER LENGTH."""
    check_range(task)
    if task.blocks > task.unit.limits.transfer:
        raise invalid_field(length_field(task.cdb))


def check_read(task: Task) -> None:
    """READ: range and length."""
    check_transfer(task)
    task.transfer_length = task.blocks * task.unit.block_size


def check_write(task: Task) -> None:
    """WRITE: range and length; all of it is data-out."""
    check_transfer(task)
    take_blocks(task, task.blocks)


def take_blocks(task: Task, blocks: int) -> None:
    """Ask for whole blocks of data-out. The initiator has to expect to send some, or none with the write flag set.

    A part of a block could only be dropped, in silence: INVALID FIELD IN COMMAND INFORMATION UNIT (SAM-5 5.1: the
    expected length is none of the CDB's). Whole blocks that are fewer than the CDB's are written, with a residual.
    """
    size = task.unit.block_size
    length = blocks * size
    task.take(length)
    if length and (not task.writes or (task.edtl < length and task.edtl % size)):
        raise illegal_request(Asc.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)


def has_fua(cdb: bytes) -> bool:
    """FORCE UNIT ACCESS; 6-byte CDBs have none."""
    return bool(cdb[0] >> 5 and cdb[1] & _FUA)


def read(task: Task) -> Work | None:
    """READ: the whole blocks that hold what the initiator can take, cut to that length.

    FUA asks for data from the medium, not from a volatile cache newer than it (SBC-3 5.11): a flush before the read
    makes the two the same, so that what is read is what a power failure would leave. With the write cache off too: a
    write-through that failed may have left its data in the cache. A backstore that knows it has nothing unflushed
    spares the flush.
    """
    unit = task.unit
    size = unit.block_size
    wanted = min(task.edtl if task.reads else 0, task.transfer_length)
    if not wanted:
        return None
    length = -(-wanted // size) * size
    buffer = memoryview(task.memory_for(length))[:length]
    task.data_in = buffer[:wanted]
    words = unit.tasks.words
    words[READS] += 1
    words[READ_BYTES] += len(buffer)
    offset = task.lba * size
    if has_fua(task.cdb) and unit.store.unflushed:
        return iter((flush_request(), read_request(offset, buffer)))
    if unit.store.try_read_into(offset, buffer):
        return None
    return read_request(offset, buffer)


def arrived_blocks(task: Task) -> memoryview:
    """The data-out, cut to whole blocks: a block of which a part is missing is not written."""
    data = task.data_out
    size = task.unit.block_size
    return data[: min(len(data), task.data_out_length) // size * size]


def write(task: Task) -> Work | None:
    """WRITE: durable before status with FUA, or while the write cache is off."""
    unit = task.unit
    data = arrived_blocks(task)
    if not data:
        return None
    words = unit.tasks.words
    words[WRITES] += 1
    words[WRITTEN_BYTES] += len(data)
    offset = task.lba * unit.block_size
    if unit.must_write_through(has_fua(task.cdb)):
        return write_request(offset, data, durable=True)
    if unit.store.try_write(offset, data):
        return None
    return write_request(offset, data)


def prefetch(task: Task) -> None:
    """PRE-FETCH(10), (16): CONDITION MET says that all blocks fit in the cache (SBC-3 5.8, 5.9).

    The cache is the backstore's, mostly the system's page cache, which has no fixed size; nothing is read ahead.
    """
    task.status = Status.CONDITION_MET
