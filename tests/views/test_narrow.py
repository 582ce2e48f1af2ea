"""``snoop``'s line of 80 columns: names give way to numbers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.probes.firing import XFER_READ, XFER_WRITE
from iscsitools.probes.table import RESERVED_TAG, Probe
from iscsitools.trace.events import Event
from iscsitools.trace.views.snoop_line import narrow_detail, narrow_line, time_text
from iscsitools.trace.views.width import LINE
from iscsitools.wire.operations import OPERATIONS, SERVICE_ACTIONS

from .test_width import LUNS, REMOTES
from .traffic import Fired, connection, header


@pytest.mark.parametrize(("lun", "cells"), [
    (LUNS[0], "192.0.2.7       xfer-done        0 a"), (LUNS[2], "192.0.2.7    xfer-done      0xc101 a"),
    (LUNS[3], "...0.2.7 xfer-done      0x40050001 a"), (LUNS[4], "...0.2.7 xfer-done      0x400500.. a"),
])  # fmt: skip
def test_a_lun_that_names_no_unit_borrows_from_the_client(lun: int, cells: str) -> None:
    event = Fired(1, Probe.XFER_DONE, connection(1), lun, xfer=(10, 1, 0, 0, 512, XFER_READ)).event(1)
    assert narrow_line(event, time_text(0)) == f" 0.000000 {cells}        read 512 at 0"


@given(
    st.sampled_from(REMOTES), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.sampled_from(list(Probe)),
    st.binary(min_size=48, max_size=48), st.integers(0, 0xFFFFFF), st.binary(min_size=6, max_size=32),
    st.floats(0, 1e9),
)  # fmt: skip
def test_snoop(
    remote: str, lun: int, itt: int, probe: Probe, bhs: bytes, sense: int, cdb: bytes, seconds: float
) -> None:
    xfer = (itt, RESERVED_TAG, 0x1000, itt, 2**32 - 1, XFER_WRITE) if probe.label.startswith("xfer") else None
    cdb = cdb if probe is Probe.SCSI_COMMAND else b""
    event = Fired(1, probe, connection(1, remote), lun, bhs, cdb, sense, xfer).event(1)
    assert len(narrow_line(event, time_text(seconds))) <= LINE
    assert len(narrow_line(event, "23:59:59.999999")) <= LINE


def of_pdu(probe: Probe, bhs: bytes, cdb: bytes = b"", sense: int = 0) -> Event:
    return Fired(1, probe, connection(1), 0, bhs, cdb, sense).event(1)


@pytest.mark.parametrize("opcode", OPERATIONS)
def test_no_lba_and_no_length_is_cut(opcode: int) -> None:
    lba, blocks = 10**15 - 1, 2**32 - 1
    event = of_pdu(Probe.SCSI_COMMAND, header(1, 0x80), struct.pack(">BBQIBB", opcode, 0, lba, blocks, 0, 0))
    text = narrow_detail(event, 26)
    assert len(text) <= 26
    assert opcode not in (0x88, 0x8A, 0x8B, 0x8E, 0x8F, 0x91, 0x93) or text == f"{lba}+{blocks}"


@pytest.mark.parametrize(("numbers", "text"), [
    ((2048, 8), "WRITE AND VERIFY 2048+8"), ((10**12, 2048), "WRITE+ 1000000000000+2048"),
])  # fmt: skip
def test_a_commands_name_gives_way(numbers: tuple[int, int], text: str) -> None:
    event = of_pdu(Probe.SCSI_COMMAND, header(1, 0x80), struct.pack(">BBQIBB", 0x8E, 0, *numbers, 0, 0))
    assert narrow_detail(event, 26) == text


@pytest.mark.parametrize("action", SERVICE_ACTIONS.values())
def test_names_of_service_actions_are_known_by_their_beginning(action: str) -> None:
    key = next(key for key, name in SERVICE_ACTIONS.items() if name == action)
    cdb = (
        bytes([key[0], key[1]]) + bytes(14) if key[0] != 0x7F else bytes([0x7F]) + bytes(7) + key[1].to_bytes(2, "big")
    )
    text = narrow_detail(of_pdu(Probe.SCSI_COMMAND, header(1, 0x80), cdb), 26)
    assert len(text) <= 26
    assert action.startswith(text.removesuffix("+"))


WORD = struct.Struct(">I")


def response(status: int, residual: int, overflow: bool, length: int = 0) -> bytes:
    """A SCSI Response, or a Data-In with the S bit, that has a Residual Count."""
    bhs = bytearray(header(0x25 if length else 0x21, 0x81 | (4 if overflow else 2), status=status, length=length))
    bhs[44:48] = WORD.pack(residual)
    return bytes(bhs)


@pytest.mark.parametrize(("event", "text"), [
    (of_pdu(Probe.SCSI_RESPONSE, response(2, 32, False), sense=0x062900), "CHECK 6/29/00 residual 32"),
    (of_pdu(Probe.SCSI_RESPONSE, response(2, 4096, False), sense=0x062900), "CHECK 6/29/00 res 4096"),
    (of_pdu(Probe.SCSI_RESPONSE, response(2, 2**32 - 1, True), sense=0x062900), "CHECK 6/29/00 r-4294967295"),
    (of_pdu(Probe.SCSI_RESPONSE, response(0x18, 4096, False)), "CONFLICT res 4096"),
    (of_pdu(Probe.DATA_SEND, response(0, 2**32 - 1, True, 2**24 - 1)), "16777215 GOOD r-4294967295"),
    (of_pdu(Probe.DATA_REQUEST, header(0x31, 0x80, tail=struct.pack(">8xII", 2**32 - 1, 2**32 - 1))),
     "4294967295 at 4294967295"),
    (of_pdu(Probe.TASK_COMMAND, header(2, 0x85, word20=0x12345678)), "LUN RESET 12345678"),
    (of_pdu(Probe.REJECT_SEND, header(0x3F, 0x80, third=6)), "too many immed. commands"),
    (Fired(1, Probe.XFER_START, connection(1), 0, xfer=(1, 1, 0, 2**31, 2**31, XFER_WRITE)).event(1),
     "w 2147483648@2147483648"),
    (Fired(1, Probe.XFER_START, connection(1), 0, xfer=(1, 1, 0, 2**31, 2**31, XFER_READ)).event(1),
     "read 2147483648@2147483648"),
])  # fmt: skip
def test_details_say_it_shorter_before_they_lose_a_number(event: Event, text: str) -> None:
    assert narrow_detail(event, 26) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0.0, " 0.000000"), (99.999999, "99.999999"), (100.0, "100.00000"), (3600.1234, "3600.1234"),
    (99_999_999.5, " 99999999"), (12_345_678_901.0, "12345678901"),
])  # fmt: skip
def test_times_give_up_decimals(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
