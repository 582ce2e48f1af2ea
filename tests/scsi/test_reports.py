"""REPORT SUPPORTED OPERATION CODES and its relatives, and the rule that the table is what the dispatcher obeys."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.scsi.commands import DISK

from .support import Bench


def report(option: int, opcode: int = 0, action: int = 0, allocation: int = 65535) -> bytes:
    return struct.pack(">BBBBHIxx", 0xA3, 0x0C, option, opcode, action, allocation)


def test_all_commands():
    data = Bench(thin=True).initiator().run(report(0)).data
    assert len(data) == 4 + int.from_bytes(data[:4], "big") == 4 + 8 * len(list(DISK.thin))
    entries = [struct.unpack(">BxHxBH", data[at : at + 8]) for at in range(4, len(data), 8)]
    assert (0x12, 0, 0, 6) in entries
    assert (0x9E, 0x12, 1, 16) in entries
    thick = Bench().initiator().run(report(0)).data
    assert len(data) - len(thick) == 16


def test_all_commands_with_timeouts():
    data = Bench().initiator().run(report(0x80)).data
    entries = [struct.unpack(">BxHxBHH10x", data[at : at + 20]) for at in range(4, len(data), 20)]
    assert (0x00, 0, 2, 6, 10) in entries
    assert len(data) == 4 + 20 * len(entries)


@pytest.mark.parametrize(
    ("cdb", "answer"),
    [
        (report(1, 0x12), "00030006" + "1201ffffff00"),
        (report(0x81, 0x12), "00830006" + "1201ffffff00" + "000a" + "00" * 10),
        (report(2, 0x9E, 0x10), "00030010" + "9e10" + "00" * 8 + "ffffffff0000"),
        (report(3, 0x9E, 0x10), "00030010" + "9e10" + "00" * 8 + "ffffffff0000"),
        (report(3, 0x12, 0), "00030006" + "1201ffffff00"),
        (report(2, 0x5E, 2), "0003000a" + "5e02" + "00" * 5 + "ffff00"),
        (report(1, 0xFF), "00010000"),
        (report(2, 0x9E, 0x1F), "00010000"),
        (report(2, 0xFF, 1), "00010000"),
        (report(3, 0x9E, 0x1F), "00010000"),
    ],
)
def test_one_command(cdb, answer):
    assert Bench().initiator().run(cdb).data.hex() == answer


@pytest.mark.parametrize("cdb", [report(1, 0x9E), report(2, 0x12), report(4), report(7)])
def test_options_that_do_not_fit(cdb):
    assert Bench().initiator().run(cdb).code == (5, 0x2400)


def test_task_management_functions():
    a = Bench().initiator()
    assert a.run("a30d00000000000000ff0000").data.hex() == "da000000"
    assert a.run("a30d80000000000000ff0000").data.hex() == "da00000c" + "00" * 12


@pytest.mark.parametrize(
    ("cdb", "code"),
    [("a00003000000000000400000", 0x2400), ("a000000000000000000f0000", 0x2400), ("a00001000000000000400000", None)],
)
def test_report_luns_fields(cdb, code):
    assert Bench().initiator().run(cdb).code == (code and (5, code))


@pytest.mark.parametrize("command", list(DISK.thin), ids=lambda command: command.name)
def test_a_bit_outside_the_usage_data_is_an_invalid_field(command):
    a = Bench(thin=True, removable=True).initiator()
    known = [usage | ignored for usage, ignored in zip(command.usage, command.ignored or bytes(16), strict=False)]
    for index in range(1, command.length):
        for bit in range(8):
            cdb = bytearray(command.length)
            cdb[0], cdb[1] = command.opcode, command.service_action or 0
            if not known[index] >> bit & 1:
                cdb[index] |= 1 << bit
                answer = a.run(bytes(cdb))
                assert answer.code == (5, 0x2400), cdb.hex()
                assert answer.sense[15:18] == bytes([0xC8 | bit, 0, index]), cdb.hex()


@settings(max_examples=400, deadline=None)
@given(
    command=st.sampled_from(list(DISK.thin)),
    fields=st.binary(min_size=16, max_size=16),
    masked=st.booleans(),
    out=st.binary(max_size=1100),
    edtl=st.none() | st.integers(0, 2000),
)
def test_any_cdb_is_answered(command, fields, masked, out, edtl):
    bench = Bench(thin=True, removable=True)
    a = bench.initiator()
    body = bytes(f & u for f, u in zip(fields, command.usage, strict=False)) if masked else fields
    cdb = bytes([command.opcode, (body[1] & 0xE0) | (command.service_action or body[1] & 0x1F)]) + body[2:]
    a.ended.clear()
    answer = a.run(cdb, out, edtl)
    assert len(a.ended) == 1
    assert answer.code is None or answer.code != (4, 0x4400)


@given(st.binary(max_size=20))
def test_any_bytes_are_answered(cdb):
    a = Bench().initiator()
    a.ended.clear()
    a.run(cdb)
    a.run(cdb, lun=9)
    assert len(a.ended) == 2
