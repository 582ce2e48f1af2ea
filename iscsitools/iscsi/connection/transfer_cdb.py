"""The range of blocks in CDBs of READ and WRITE other than the plain ones (SBC-3 5.10 to 5.13, 5.32 to 5.35)."""

from __future__ import annotations

from typing import Final

from iscsitools.backstores.base import Backstore
from iscsitools.wire.rfc7143 import COMMAND, LONG_CDB

_KIND: Final = 0x1F00
"""In the first two bytes of a CDB: what operation codes of one kind have in common. The bits above are their group."""
_WRITES: Final = 0x0200
_HIGHEST_LBA: Final = 0x001F
_FUA: Final = 0x0008
_ONLY_DPO_AND_FUA: Final = 0x00E7
NOT_HERE: Final = (0, 0)


def other_range(
    buffer: bytearray | bytes, pos: int, plain: int, store: Backstore, watched: bool | int
) -> tuple[int, int]:
    """LBA, and TRANSFER LENGTH << 8 | CONTROL, of the command whose BHS is at ``pos``, as the (10) form has them.

    A GROUP NUMBER counts as CONTROL does: what is not 0 in either is a task's to look at.
    NOT_HERE: it is no such READ or WRITE, or a task has to answer it. ``plain``: the first two bytes of the (10) form.
    DPO asks for nothing; FUA of a READ neither, while nothing is unflushed that has been written (SBC-3 5.11).
    ``watched``: somebody looks, and the probes' calls for whole commands know CDBs of 10 and 16 bytes only.
    """
    _, _, _, _, operation, lba, length = COMMAND.unpack_from(buffer, pos)
    group = operation >> 13
    if (operation ^ plain) & _KIND or (watched and group in (0, 5)):
        return NOT_HERE
    if group == 0:  # the LBA's highest bits stand in byte 1; 0 blocks are 256 (SBC-3 5.10)
        if operation & 0xFF & ~_HIGHEST_LBA:
            return NOT_HERE
        return (operation & _HIGHEST_LBA) << 16 | lba >> 16, (lba >> 8 & 0xFF or 256) << 8 | lba & 0xFF
    try:
        if operation & _ONLY_DPO_AND_FUA or (operation & _FUA and (operation & _WRITES or store.unflushed)):
            return NOT_HERE
    except BaseException:
        return NOT_HERE  # the task's way meets it again, and makes sense data of it
    if group == 4:
        lba, length, group_number, control = LONG_CDB.unpack_from(buffer, pos + 34)
        return lba, length << 8 | group_number | control
    if group == 5:
        return (lba, length << 8) if not buffer[pos + 42] and not buffer[pos + 43] else NOT_HERE
    return (lba, length) if group == 1 else NOT_HERE
