"""The rows of the commands of SBC-3 (SBC-3 table 30)."""

from __future__ import annotations

from typing import Final

from iscsitools.scsi.core.command import Command, Flags
from iscsitools.scsi.core.command_rows import READ, SHARED, STANDBY, WRITE, Check, Run, block, row
from iscsitools.scsi.sbc import (
    cache,
    capacity,
    defects,
    format_unit,
    medium,
    provisioning,
    read_write,
    sanitize,
    verify,
    write_atomic,
)

_MEDIUM = (
    row("TEST UNIT READY", "00 00 00 00 00 00", medium.test_unit_ready, Flags.MEDIUM | SHARED | Flags.ESSENTIAL),
    row(
        "FORMAT UNIT", "04 3f 00 00 00 00", format_unit.format_unit,
        Flags.WRITES | Flags.EXCLUSIVE, format_unit.check_format,
    ),
)  # fmt: skip

_CAPACITY = (
    row(
        "READ CAPACITY(10)", "25 00 ff ff ff ff 00 00 01 00",
        capacity.read_capacity_10, Flags.MEDIUM | SHARED | STANDBY, capacity.check_read_capacity_10,
    ),
    row(
        "READ CAPACITY(16)", "9e 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        capacity.read_capacity_16, Flags.MEDIUM | SHARED | STANDBY, action=0x10,
    ),
)  # fmt: skip

_DPO_FUA = 0x18
_READ_WRITE = (
    block("READ(6)", 0x08, 0, read_write.read, READ, read_write.check_read),
    block("READ(10)", 0x28, _DPO_FUA, read_write.read, READ, read_write.check_read),
    block("READ(12)", 0xA8, _DPO_FUA, read_write.read, READ, read_write.check_read),
    block("READ(16)", 0x88, _DPO_FUA, read_write.read, READ, read_write.check_read),
    block("WRITE(6)", 0x0A, 0, read_write.write, WRITE, read_write.check_write),
    block("WRITE(10)", 0x2A, _DPO_FUA, read_write.write, WRITE, read_write.check_write),
    block("WRITE(12)", 0xAA, _DPO_FUA, read_write.write, WRITE, read_write.check_write),
    block("WRITE(16)", 0x8A, _DPO_FUA, read_write.write, WRITE, read_write.check_write),
    block("PRE-FETCH(10)", 0x34, 0x02, read_write.prefetch, READ, read_write.check_range),
    block("PRE-FETCH(16)", 0x90, 0x02, read_write.prefetch, READ, read_write.check_range),
    block("SYNCHRONIZE CACHE(10)", 0x35, 0x06, cache.synchronize_cache, Flags.MEDIUM, read_write.check_range),
    block("SYNCHRONIZE CACHE(16)", 0x91, 0x06, cache.synchronize_cache, Flags.MEDIUM, read_write.check_range),
)

_DPO_BYTCHK = 0x16
_VERIFY = (
    block("VERIFY(10)", 0x2F, _DPO_BYTCHK, verify.verify, READ, verify.check_verify),
    block("VERIFY(12)", 0xAF, _DPO_BYTCHK, verify.verify, READ, verify.check_verify),
    block("VERIFY(16)", 0x8F, _DPO_BYTCHK, verify.verify, READ, verify.check_verify),
    block("WRITE AND VERIFY(10)", 0x2E, _DPO_BYTCHK, verify.write_and_verify, WRITE, verify.check_write_and_verify),
    block("WRITE AND VERIFY(12)", 0xAE, _DPO_BYTCHK, verify.write_and_verify, WRITE, verify.check_write_and_verify),
    block("WRITE AND VERIFY(16)", 0x8E, _DPO_BYTCHK, verify.write_and_verify, WRITE, verify.check_write_and_verify),
    block("ORWRITE(16)", 0x8B, _DPO_FUA, verify.orwrite, WRITE, read_write.check_write),
    row(
        "COMPARE AND WRITE", "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 00 00",
        verify.compare_and_write, WRITE, verify.check_compare_and_write,
    ),
)  # fmt: skip


def _sanitize(name: str, action: int, length: str, run: Run, check: Check) -> Command:
    return row(f"SANITIZE, {name}", f"48 bf 00 00 00 00 00 {length} 00", run, Flags.WRITES, check, action)


_SANITIZE = (
    _sanitize("OVERWRITE", 1, "ff ff", sanitize.overwrite, sanitize.check_overwrite),
    _sanitize("BLOCK ERASE", 2, "00 00", sanitize.block_erase, sanitize.check_erase),
    _sanitize("EXIT FAILURE MODE", 0x1F, "00 00", sanitize.exit_failure_mode, sanitize.check_exit),
)

_DEFECTS = (
    row("READ DEFECT DATA(10)", "37 00 1f 00 00 00 00 ff ff 00", defects.read_defect_data_10, READ),
    row("READ DEFECT DATA(12)", "b7 1f ff ff ff ff ff ff ff ff 00 00", defects.read_defect_data_12, READ),
)

_WRITE_SAME = (
    block("WRITE SAME(10)", 0x41, 0x08, provisioning.write_same, WRITE, provisioning.check_write_same),
    block("WRITE SAME(16)", 0x93, 0x09, provisioning.write_same, WRITE, provisioning.check_write_same),
)
THIN: Final = (
    row(
        "UNMAP", "42 00 00 00 00 00 00 ff ff 00", provisioning.unmap, WRITE, provisioning.check_unmap,
        locate=provisioning.locate_unmap,
    ),
    row(
        "GET LBA STATUS", "9e 1f ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
        provisioning.lba_status, READ, provisioning.check_lba_status, 0x12,
    ),
)  # fmt: skip

ATOMIC: Final = (
    row(
        "WRITE ATOMIC(16)", "9c 18 ff ff ff ff ff ff ff ff 00 00 ff ff 1f 00", write_atomic.write_atomic, WRITE,
        write_atomic.check_write_atomic,
    ),
)  # fmt: skip
"""Those of a unit of which something makes the writes atomic."""

ENCRYPTED: Final = (_sanitize("CRYPTOGRAPHIC ERASE", 3, "00 00", sanitize.crypto_erase, sanitize.check_erase),)
"""Those of a unit of which the backstore can change its key."""

COMMANDS: Final = _MEDIUM + _CAPACITY + _READ_WRITE + _VERIFY + _DEFECTS + _WRITE_SAME + _SANITIZE
