"""Decoding a record gives what the probes' table says."""

from __future__ import annotations

import struct

import pytest

from iscsitools.probes.table import XFER_PROBES, Probe, info_of
from iscsitools.trace.record import SIZE, WHOLE, decode
from iscsitools.trace.sums.snapshot import strings_of

from .support import connection

NAMES = {(1, 0): strings_of(connection())}


def record(probe: int, body: bytes, cdb_length: int = 0, lun: int = 3) -> bytes:
    return WHOLE.pack(9, 8, lun, 1, 0, probe, 7, cdb_length, body.ljust(48, b"\0"), bytes(range(16)))


@pytest.mark.parametrize("probe", [probe for probe in Probe if probe not in XFER_PROBES])
@pytest.mark.parametrize("flags", [0x00, 0x81, 0x80, 0xFF])
def test_the_numbers_are_those_of_the_table(probe: Probe, flags: int) -> None:
    bhs = bytes([0x25, flags, *range(100, 146)])
    (event,) = decode(record(probe, bhs), NAMES)
    assert event.info == info_of(probe, bhs, 3)
    assert (event.sequence, event.time, event.probe, event.sense) == (9, 8, probe, 7)
    assert (event.bhs, event.cdb, event.xfer) == (bhs, b"", None)


@pytest.mark.parametrize("probe", XFER_PROBES)
def test_a_transfer(probe: Probe) -> None:
    (event,) = decode(record(probe, struct.pack("<IIQIII", 1, 2, 3, 4, 5, 1)), NAMES)
    assert event.xfer == (1, 2, 3, 4, 5, 1)
    assert event.info == (3, 1, 2, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("length", "kept"), [(6, 6), (16, 16), (20, 20), (32, 32), (260, 32)])
def test_the_cdb_is_put_together(length: int, kept: int) -> None:
    bhs = bytes(32) + bytes(range(200, 216))
    (event,) = decode(record(Probe.SCSI_COMMAND, bhs, length), NAMES)
    assert event.cdb == (bytes(range(200, 216)) + bytes(range(16)))[:kept]
    assert event.cdb_length == length


def test_a_block_of_several() -> None:
    block = record(Probe.NOP_SEND, b"") * 3
    assert len(block) == 3 * SIZE
    assert len(list(decode(memoryview(block), NAMES))) == 3
