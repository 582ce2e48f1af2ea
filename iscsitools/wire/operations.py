"""Operation codes and service actions by name, and the range that a CDB names (SPC-4 annex E, SBC-3 5.1)."""

from __future__ import annotations

from typing import Final, NamedTuple

OPERATIONS: Final[dict[int, str]] = {
    0x00: "TEST UNIT READY",
    0x01: "REZERO UNIT",
    0x03: "REQUEST SENSE",
    0x04: "FORMAT UNIT",
    0x07: "REASSIGN BLOCKS",
    0x08: "READ(6)",
    0x0A: "WRITE(6)",
    0x12: "INQUIRY",
    0x15: "MODE SELECT(6)",
    0x16: "RESERVE(6)",
    0x17: "RELEASE(6)",
    0x1A: "MODE SENSE(6)",
    0x1B: "START STOP UNIT",
    0x1C: "RECEIVE DIAGNOSTIC RESULTS",
    0x1D: "SEND DIAGNOSTIC",
    0x1E: "PREVENT ALLOW MEDIUM REMOVAL",
    0x25: "READ CAPACITY(10)",
    0x28: "READ(10)",
    0x2A: "WRITE(10)",
    0x2E: "WRITE AND VERIFY(10)",
    0x2F: "VERIFY(10)",
    0x34: "PRE-FETCH(10)",
    0x35: "SYNCHRONIZE CACHE(10)",
    0x37: "READ DEFECT DATA(10)",
    0x3B: "WRITE BUFFER",
    0x3C: "READ BUFFER",
    0x3E: "READ LONG(10)",
    0x3F: "WRITE LONG(10)",
    0x41: "WRITE SAME(10)",
    0x42: "UNMAP",
    0x48: "SANITIZE",
    0x4C: "LOG SELECT",
    0x4D: "LOG SENSE",
    0x53: "XDWRITEREAD(10)",
    0x55: "MODE SELECT(10)",
    0x56: "RESERVE(10)",
    0x57: "RELEASE(10)",
    0x5A: "MODE SENSE(10)",
    0x5E: "PERSISTENT RESERVE IN",
    0x5F: "PERSISTENT RESERVE OUT",
    0x7F: "VARIABLE LENGTH CDB",
    0x83: "THIRD-PARTY COPY OUT",
    0x84: "THIRD-PARTY COPY IN",
    0x85: "ATA PASS-THROUGH(16)",
    0x88: "READ(16)",
    0x89: "COMPARE AND WRITE",
    0x8A: "WRITE(16)",
    0x8B: "ORWRITE(16)",
    0x8E: "WRITE AND VERIFY(16)",
    0x8F: "VERIFY(16)",
    0x90: "PRE-FETCH(16)",
    0x91: "SYNCHRONIZE CACHE(16)",
    0x93: "WRITE SAME(16)",
    0x9C: "WRITE ATOMIC(16)",
    0x9D: "SERVICE ACTION BIDIRECTIONAL",
    0x9E: "SERVICE ACTION IN(16)",
    0x9F: "SERVICE ACTION OUT(16)",
    0xA0: "REPORT LUNS",
    0xA1: "ATA PASS-THROUGH(12)",
    0xA2: "SECURITY PROTOCOL IN",
    0xA3: "MAINTENANCE IN",
    0xA4: "MAINTENANCE OUT",
    0xA8: "READ(12)",
    0xA9: "SERVICE ACTION OUT(12)",
    0xAA: "WRITE(12)",
    0xAB: "SERVICE ACTION IN(12)",
    0xAE: "WRITE AND VERIFY(12)",
    0xAF: "VERIFY(12)",
    0xB5: "SECURITY PROTOCOL OUT",
    0xB7: "READ DEFECT DATA(12)",
}

SERVICE_ACTIONS: Final[dict[tuple[int, int], str]] = {
    (0x5E, 0x00): "PR IN READ KEYS",
    (0x5E, 0x01): "PR IN READ RESERVATION",
    (0x5E, 0x02): "PR IN REPORT CAPABILITIES",
    (0x5E, 0x03): "PR IN READ FULL STATUS",
    (0x5F, 0x00): "PR OUT REGISTER",
    (0x5F, 0x01): "PR OUT RESERVE",
    (0x5F, 0x02): "PR OUT RELEASE",
    (0x5F, 0x03): "PR OUT CLEAR",
    (0x5F, 0x04): "PR OUT PREEMPT",
    (0x5F, 0x05): "PR OUT PREEMPT AND ABORT",
    (0x5F, 0x06): "PR OUT REGISTER AND IGNORE",
    (0x5F, 0x07): "PR OUT REGISTER AND MOVE",
    (0x7F, 0x0009): "READ(32)",
    (0x7F, 0x000A): "VERIFY(32)",
    (0x7F, 0x000B): "WRITE(32)",
    (0x7F, 0x000C): "WRITE AND VERIFY(32)",
    (0x7F, 0x000D): "WRITE SAME(32)",
    (0x7F, 0x000E): "ORWRITE(32)",
    (0x83, 0x00): "EXTENDED COPY(LID1)",
    (0x83, 0x01): "EXTENDED COPY(LID4)",
    (0x83, 0x10): "POPULATE TOKEN",
    (0x83, 0x11): "WRITE USING TOKEN",
    (0x83, 0x1C): "COPY OPERATION ABORT",
    (0x84, 0x00): "RECEIVE COPY STATUS(LID1)",
    (0x84, 0x03): "RECEIVE COPY OPERATING PARAMETERS",
    (0x84, 0x04): "RECEIVE COPY FAILURE DETAILS(LID1)",
    (0x84, 0x05): "RECEIVE COPY STATUS(LID4)",
    (0x84, 0x07): "RECEIVE ROD TOKEN INFORMATION",
    (0x9E, 0x10): "READ CAPACITY(16)",
    (0x9E, 0x11): "READ LONG(16)",
    (0x9E, 0x12): "GET LBA STATUS",
    (0xA3, 0x05): "REPORT IDENTIFYING INFORMATION",
    (0xA3, 0x0A): "REPORT TARGET PORT GROUPS",
    (0xA3, 0x0B): "REPORT ALIASES",
    (0xA3, 0x0C): "REPORT SUPPORTED OPERATION CODES",
    (0xA3, 0x0D): "REPORT SUPPORTED TMFS",
    (0xA3, 0x0F): "REPORT TIMESTAMP",
    (0xA4, 0x06): "SET IDENTIFYING INFORMATION",
    (0xA4, 0x0A): "SET TARGET PORT GROUPS",
    (0xA4, 0x0F): "SET TIMESTAMP",
}


_VARIABLE_LENGTH: Final = 0x7F
# PERSISTENT RESERVE IN and OUT, the variable-length CDB, EXTENDED COPY, RECEIVE COPY RESULTS, SERVICE ACTION
# BIDIRECTIONAL, IN (16) and OUT (16), MAINTENANCE IN and OUT, SERVICE ACTION IN (12) and OUT (12).
SERVICE_ACTION_OPERATIONS: Final = frozenset({0x5E, 0x5F, 0x7F, 0x83, 0x84, 0x9D, 0x9E, 0x9F, 0xA3, 0xA4, 0xA9, 0xAB})


def service_action(cdb: bytes) -> int | None:
    """Return the service action, of the commands that have one (SPC-4 4.2.5)."""
    if cdb[0] not in SERVICE_ACTION_OPERATIONS:
        return None
    if cdb[0] == _VARIABLE_LENGTH:
        return int.from_bytes(cdb[8:10], "big")
    return cdb[1] & 0x1F


class CdbExtent(NamedTuple):
    """The range that a CDB names: the first block, and how many blocks."""

    lba: int
    blocks: int


# Places (LBA offset, LBA bytes, length offset, length bytes) in the CDBs that name one range (SBC-3 clause 5).
_TEN = (2, 4, 7, 2)
_TWELVE = (2, 4, 6, 4)
_SIXTEEN = (2, 8, 10, 4)
VARIABLE_LENGTH_RANGE = (12, 8, 28, 4)
RANGES: Final[dict[int, tuple[int, int, int, int]]] = {
    **dict.fromkeys((0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35, 0x41, 0x53), _TEN),
    **dict.fromkeys((0xA8, 0xAA, 0xAE, 0xAF), _TWELVE),
    **dict.fromkeys((0x88, 0x8A, 0x8B, 0x8E, 0x8F, 0x90, 0x91, 0x93), _SIXTEEN),
    0x89: (2, 8, 13, 1),  # COMPARE AND WRITE: NUMBER OF LOGICAL BLOCKS is one byte
    0x9C: (2, 8, 12, 2),  # WRITE ATOMIC (16), SBC-4 5.48
}


def command_name(opcode: int, action: int | None = None) -> str:
    """What SPC-4 or SBC-3 calls the command; an unknown one gets its numbers in hexadecimal."""
    if action is not None:
        known = SERVICE_ACTIONS.get((opcode, action))
        if known is not None:
            return known
    name = OPERATIONS.get(opcode, f"OPCODE {opcode:02X}h")
    return name if action is None else f"{name} {action:02X}h"


def name_of(cdb: bytes) -> str:
    """The name of the command in this CDB."""
    return command_name(cdb[0], service_action(cdb)) if cdb else "(no CDB)"


def extent_of(cdb: bytes) -> CdbExtent | None:
    """The LBA and the number of blocks that the CDB names, where it names one range and all of it is there."""
    if not cdb:
        return None
    if cdb[0] in (0x08, 0x0A) and len(cdb) >= 6:
        # SBC-2 5.5: 21 bits of LBA; a TRANSFER LENGTH of 0 is 256 blocks.
        return CdbExtent(int.from_bytes(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256)
    places = RANGES.get(cdb[0])
    if cdb[0] == 0x7F and service_action(cdb) in range(0x09, 0x0F):
        places = VARIABLE_LENGTH_RANGE
    if places is None:
        return None
    at, size, length_at, length_size = places
    if len(cdb) < length_at + length_size:
        return None
    lba = int.from_bytes(cdb[at : at + size], "big")
    return CdbExtent(lba, int.from_bytes(cdb[length_at : length_at + length_size], "big"))
