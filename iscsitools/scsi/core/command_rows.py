"""How a row of the operation code table is written: CDB usage data in hexadecimal, and the flags that rows share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iscsitools.scsi.core.command import Command, Flags, never_allowed, no_check
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.task import Task

Check = Callable[[Task], None]
Run = Callable[[Task], Work | None]
Allowed = Callable[[bytes, bool], bool]

ANY: Final = Flags.IGNORES_ATTENTION | Flags.SHARED | Flags.BEFORE_RESERVE | Flags.ESSENTIAL | Flags.IN_ANY_STATE
STANDBY: Final = Flags.IN_STANDBY
ASKS: Final = Flags.READS | Flags.IN_STANDBY
SHARED: Final = Flags.SHARED
READ: Final = Flags.MEDIUM | Flags.READS
WRITE: Final = Flags.MEDIUM | Flags.WRITES

# Bits of the common block layouts that are ignored: FUA_NV (obsolete) in byte 1, and GROUP NUMBER.
_IGNORED = {
    6: b"",
    10: bytes.fromhex("00 02 00 00 00 00 1f 00 00 00"),
    12: bytes.fromhex("00 02 00 00 00 00 00 00 00 00 1f 00"),
    16: bytes.fromhex("00 02 00 00 00 00 00 00 00 00 00 00 00 00 1f 00"),
}
_LBA_AND_LENGTH = {
    6: "ff ff ff 00",
    10: "ff ff ff ff 00 ff ff 00",
    12: "ff ff ff ff ff ff ff ff 00 00",
    16: "ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
}
_LENGTH_BY_GROUP = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}


def row(
    name: str, usage: str, run: Run, flags: Flags = Flags.NONE, check: Check = no_check, action: int | None = None,
    allowed: Allowed = never_allowed, locate: Check = no_check,
) -> Command:  # fmt: skip
    """A row; ``usage``: the CDB usage data in hexadecimal, which begins with the operation code."""
    data = bytes.fromhex(usage)
    return Command(name, data[0], action, data, run, flags, check, locate=locate, allowed=allowed)


def block(name: str, opcode: int, byte1: int, run: Run, flags: Flags, check: Check) -> Command:
    """A command of the common block layout; ``byte1`` are the bits of byte 1 that it evaluates."""
    length = _LENGTH_BY_GROUP[opcode >> 5]
    usage = bytes([opcode, byte1]) + bytes.fromhex(_LBA_AND_LENGTH[length])
    if length == 6:
        usage = bytes([opcode, 0x1F, 0xFF, 0xFF, 0xFF, 0])
    return Command(name, opcode, None, usage, run, flags, check, _IGNORED[length])
