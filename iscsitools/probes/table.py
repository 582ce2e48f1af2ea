"""The 18 probes of the ``iscsi`` provider, and where each field of theirs comes from.

The contract is "COMSTAR DTrace Probes/Providers for iSCSI Target" 0.8. This module is its one statement in code:
the live trace, the DTrace provider, the documentation and the tests all read this table.

A probe that stands for a PDU is fired with the 48 bytes of that PDU's basic header segment (BHS, RFC 7143 11.2), as
received or as sent. Every number of ``iscsiinfo_t`` is then a fixed place in those bytes, or a constant:
:func:`info_of` reads them out. That keeps a call site to one call without building anything.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

RESERVED_TAG: Final = 0xFFFFFFFF


class Probe(IntEnum):
    """Every event; the value is its bit in an enabled mask. From 18 on they exist in the live trace only."""

    LOGIN_COMMAND = 0
    LOGIN_RESPONSE = 1
    LOGOUT_COMMAND = 2
    LOGOUT_RESPONSE = 3
    TEXT_COMMAND = 4
    TEXT_RESPONSE = 5
    SCSI_COMMAND = 6
    SCSI_RESPONSE = 7
    DATA_SEND = 8
    DATA_RECEIVE = 9
    DATA_REQUEST = 10
    TASK_COMMAND = 11
    TASK_RESPONSE = 12
    NOP_RECEIVE = 13
    NOP_SEND = 14
    ASYNC_SEND = 15
    XFER_START = 16
    XFER_DONE = 17
    REJECT_SEND = 18
    SNACK_RECEIVE = 19

    @property
    def label(self) -> str:
        """The name as scripts write it: ``scsi-command``."""
        return self.name.lower().replace("_", "-")


PROVIDER_PROBES: Final = tuple(p for p in Probe if p <= Probe.XFER_DONE)
XFER_PROBES: Final = frozenset({Probe.XFER_START, Probe.XFER_DONE})
ALL_MASK: Final = (1 << len(Probe)) - 1
BY_LABEL: Final = {p.label: p for p in Probe}

# Where a number stands in the BHS (RFC 7143 chapter 11); ZERO and TAG are the contract's constants.
ZERO: Final = -1
TAG: Final = -2
ITT: Final = 16
TTT: Final = 20  # also the Referenced Task Tag of a task management request
CMDSN: Final = 24  # StatSN in a PDU that the target sends
STATSN: Final = 28  # ExpStatSN when received; ExpCmdSN when sent
DATASN: Final = 36  # DataSN, R2TSN, ExpDataSN


class Fields(NamedTuple):
    """Where ii_itt, ii_ttt, ii_cmdsn, ii_statsn and ii_datasn come from, and whether datalen and flags are given."""

    itt: int
    ttt: int
    cmdsn: int
    statsn: int
    datasn: int
    datalen: bool = True
    flags: bool = True


_RECEIVED = Fields(ITT, TAG, CMDSN, STATSN, ZERO)
_SENT = Fields(ITT, TAG, STATSN, CMDSN, ZERO)
FIELDS: Final[dict[Probe, Fields]] = {
    Probe.LOGIN_COMMAND: _RECEIVED,
    Probe.LOGIN_RESPONSE: _SENT,
    Probe.LOGOUT_COMMAND: _RECEIVED._replace(datalen=False),
    Probe.LOGOUT_RESPONSE: _SENT._replace(datalen=False),
    Probe.TEXT_COMMAND: _RECEIVED._replace(ttt=TTT),
    Probe.TEXT_RESPONSE: _SENT._replace(ttt=TTT),
    Probe.SCSI_COMMAND: _RECEIVED,
    Probe.SCSI_RESPONSE: _SENT._replace(datasn=DATASN),
    Probe.DATA_SEND: _SENT._replace(ttt=TTT, datasn=DATASN),
    Probe.DATA_RECEIVE: Fields(ITT, TTT, ZERO, STATSN, DATASN),
    Probe.DATA_REQUEST: _SENT._replace(ttt=TTT, datasn=DATASN, datalen=False),
    Probe.TASK_COMMAND: _RECEIVED._replace(ttt=TTT, datalen=False, flags=False),
    Probe.TASK_RESPONSE: _SENT,
    Probe.NOP_RECEIVE: _RECEIVED._replace(ttt=TTT),
    Probe.NOP_SEND: _SENT._replace(ttt=TTT),
    Probe.ASYNC_SEND: _SENT._replace(itt=TAG),
    Probe.REJECT_SEND: _SENT._replace(itt=TAG, datasn=DATASN),
    Probe.SNACK_RECEIVE: Fields(ITT, TTT, ZERO, STATSN, ZERO),
}

DATA_STATUS: Final = 0x01  # the S bit of a Data-In: it carries status


class Info(NamedTuple):
    """The numbers of one iscsiinfo_t, in host byte order (``ii_`` left out)."""

    lun: int
    itt: int
    ttt: int
    cmdsn: int
    statsn: int
    datasn: int
    datalen: int
    flags: int


_U32 = struct.Struct(">I")


def _at(bhs: bytes, place: int) -> int:
    if place >= 0:
        value: int = _U32.unpack_from(bhs, place)[0]
        return value
    return 0 if place == ZERO else RESERVED_TAG


def info_of(probe: Probe, bhs: bytes, lun: int) -> Info:
    """Read the numbers of iscsiinfo_t from a PDU's 48-byte BHS.

    ``lun`` is the unit number that the call site gave (the task's, for PDUs that do not carry one). Data-In has a
    StatSN only with the S bit (RFC 7143 11.7.4); without it ii_statsn is 0. Not for the xfer probes.
    """
    f = FIELDS[probe]
    flags = bhs[1]
    statsn = _at(bhs, f.statsn)
    if probe is Probe.DATA_SEND and not flags & DATA_STATUS:
        statsn = 0
    return Info(
        lun,
        _at(bhs, f.itt),
        _at(bhs, f.ttt),
        _at(bhs, f.cmdsn),
        statsn,
        _at(bhs, f.datasn),
        int.from_bytes(bhs[5:8], "big") if f.datalen else 0,
        flags if f.flags else 0,
    )
