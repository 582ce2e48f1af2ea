"""The provider's table of arguments, written down once more and held against a header whose bytes are all different."""

from __future__ import annotations

import pytest

from iscsitools.probes.table import FIELDS, Probe, info_of

# Numbers of a header segment by their byte (RFC 7143 11.2.1 and the sections of the PDUs).
ITT, TTT, REFERENCED = 16, 20, 20
CMDSN, EXPSTATSN = 24, 28  # received
STATSN, EXPCMDSN = 24, 28  # sent
DATASN = R2TSN = EXPDATASN = 36
NO_TAG, ZERO = "0xffffffff", "0"

TABLE = {
    "login-command": (ITT, NO_TAG, CMDSN, EXPSTATSN, ZERO),
    "logout-command": (ITT, NO_TAG, CMDSN, EXPSTATSN, ZERO),
    "login-response": (ITT, NO_TAG, EXPCMDSN, STATSN, ZERO),
    "logout-response": (ITT, NO_TAG, EXPCMDSN, STATSN, ZERO),
    "text-command": (ITT, TTT, CMDSN, EXPSTATSN, ZERO),
    "text-response": (ITT, TTT, EXPCMDSN, STATSN, ZERO),
    "scsi-command": (ITT, NO_TAG, CMDSN, EXPSTATSN, ZERO),
    "scsi-response": (ITT, NO_TAG, EXPCMDSN, STATSN, EXPDATASN),
    "data-send": (ITT, TTT, EXPCMDSN, STATSN, DATASN),
    "data-receive": (ITT, TTT, ZERO, EXPSTATSN, DATASN),
    "data-request": (ITT, TTT, EXPCMDSN, STATSN, R2TSN),
    "task-command": (ITT, REFERENCED, CMDSN, EXPSTATSN, ZERO),
    "task-response": (ITT, NO_TAG, EXPCMDSN, STATSN, ZERO),
    "nop-receive": (ITT, TTT, CMDSN, EXPSTATSN, ZERO),
    "nop-send": (ITT, TTT, EXPCMDSN, STATSN, ZERO),
    "async-send": (NO_TAG, NO_TAG, EXPCMDSN, STATSN, ZERO),
}
WITHOUT_LENGTH = {"logout-command", "logout-response", "data-request", "task-command"}
BHS = bytes(range(1, 49))


def expected(column: int | str) -> int:
    return int(column, 16) if isinstance(column, str) else int.from_bytes(BHS[column : column + 4], "big")


@pytest.mark.parametrize("label", TABLE)
def test_a_probes_numbers(label: str) -> None:
    probe = next(probe for probe in Probe if probe.label == label)
    status = bytes([BHS[0], 0x81]) + BHS[2:]  # with the S bit, so that Data-In has a StatSN
    info = info_of(probe, status, 7)
    assert info.lun == 7
    assert (info.itt, info.ttt, info.cmdsn, info.statsn, info.datasn) == tuple(map(expected, TABLE[label]))
    assert info.datalen == (0 if label in WITHOUT_LENGTH else int.from_bytes(BHS[5:8], "big"))
    assert info.flags == (0 if label == "task-command" else 0x81)


def test_the_table_is_whole() -> None:
    provider = {probe.label for probe in FIELDS} - {"reject-send", "snack-receive"}
    assert provider == TABLE.keys()


def test_data_without_status_has_no_statsn() -> None:
    without = bytes([BHS[0], 0x80]) + BHS[2:]
    assert info_of(Probe.DATA_SEND, without, 0).statsn == 0
