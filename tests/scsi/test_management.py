"""Logs, self-tests, buffers, the clock, FORMAT UNIT, and sense data in the descriptor format."""

from __future__ import annotations

import struct

import pytest

from iscsitools.scsi.spc.diagnostics import DiagnosticBuffers

from .support import FIELD, LIST_FIELD, LIST_LENGTH, READ, TUR, WRITE, Bench

SEQUENCE = (5, 0x2C00)


@pytest.fixture
def bench():
    return Bench()


def log_page(initiator, page: int, subpage: int = 0) -> bytes:
    answer = initiator.run(f"4d00{0x40 | page:02x}{subpage:02x}000000100000"[:20])
    assert answer.good
    code, sub, length = struct.unpack_from(">BBH", answer.data)
    assert (code & 0x3F, sub, length) == (page, subpage, len(answer.data) - 4)
    return answer.data


# Logs


def test_supported_log_pages(bench):
    a = bench.initiator()
    assert log_page(a, 0)[4:].hex() == "0002" + "03050d1015192f"
    assert log_page(a, 0, 0xFF).hex() == "40ff0012" + "0000020003000500" + "0d001000150019002f00"


@pytest.mark.parametrize(
    ("cdb", "page", "others"),
    [(READ, 0x03, (0x02, 0x05)), (WRITE, 0x02, (0x03, 0x05)), ("2f" + READ[2:], 0x05, (2, 3))],
)
def test_errors_are_counted_by_what_failed(bench, cdb, page, others):
    a, b = bench.initiator(), bench.initiator("bb")
    bench.store.error = OSError(5, "broken")
    for _ in range(3):
        assert a.run(cdb, bytes(512) if cdb == WRITE else b"").status == 2
    bench.store.error = None
    corrected, uncorrected = "00030008" + bytes(8).hex(), "00060008" + f"{3:016x}"
    moved = "" if page == 5 else f"00050008{1536:016x}"
    assert log_page(a, page).hex() == f"{page:02x}00{36 if moved else 24:04x}" + corrected + moved + uncorrected
    for other in others:
        assert log_page(a, other)[-8:] == bytes(8)
    assert log_page(a, 0x2F).hex() == "2f000008" + "00000304" + "5d00ff00"
    assert a.run("4c020000000000000000").good
    assert log_page(a, page)[-8:] == bytes(8)
    assert log_page(a, 0x2F).hex() == "2f000008" + "00000304" + "0000ff00"
    assert b.run(TUR).code == (6, 0x2A02)
    assert a.run(TUR).good


def test_commands_and_blocks_are_counted(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    for cdb, blocks in (("080000000300", 3), ("28000000000000000200", 2), ("a8000000000000000001", 1)):
        assert a.run(cdb.ljust(24, "0")).good, blocks
    assert b.run("0a0000000400", bytes(2048)).good
    assert b.run("8a0000000000000000000000000500".ljust(32, "0"), bytes(2560)).good
    assert b.run(TUR).good
    values = struct.unpack(">HBB8Q", log_page(a, 0x19)[4:])
    assert values == (1, 3, 64, 3, 2, 9, 6, 0, 0, 0, 0)
    assert log_page(a, 2)[16:28].hex() == f"00050008{9 * 512:016x}"
    assert a.run("4c020000000000000000").good
    assert not any(log_page(a, 0x19)[8:])


def test_what_a_disk_of_software_has_not(bench):
    a = bench.initiator()
    assert log_page(a, 0x0D).hex() == "0d00000c" + "0000030200ff" + "0001030200ff"
    assert log_page(a, 0x15).hex() == "15000010" + "0000030c" + bytes(12).hex()


def test_the_lists_of_defects_are_empty(bench):
    a = bench.initiator()
    assert a.run("37001800000000000800").data.hex() == "00180000"
    assert a.run("b71000000000000000080000").data.hex() == "0010000000000000"


@pytest.mark.parametrize(
    ("cdb", "code"),
    [
        ("4d014000000000001000", FIELD),  # SP
        ("4d004c00000000001000", FIELD),  # no such page: the unit is not thin
        ("4d005800000000001000", FIELD),
        ("4d004001000000001000", FIELD),
        ("4d0043ff000000001000", FIELD),
        ("4d004000000001001000", FIELD),  # PARAMETER POINTER
        ("4c010000000000000000", FIELD),
        ("4c000000000000000400", LIST_LENGTH),
        ("4c001800000000000000", FIELD),
    ],
)
def test_what_logs_cannot_do(bench, cdb, code):
    assert bench.initiator().run(cdb).code == code


# Self-tests and buffers


@pytest.mark.parametrize("cdb", ["1d0400000000", "1da000000000", "1dc000000000"])
def test_a_self_test_reads_the_medium(bench, cdb):
    a = bench.initiator()
    assert a.run(cdb).good
    assert bench.store.calls == ["read", "read"]
    bench.store.error = OSError(5, "broken")
    assert a.run(cdb).code == (4, 0x3E03)


@pytest.mark.parametrize(
    ("cdb", "code"),
    [
        ("1d0000000000", None),
        ("1d6000000000", FIELD),  # reserved
        ("1d8000000000", FIELD),  # abort: there is none to abort
        ("1da400000000", FIELD),
        ("1d0000000400", LIST_LENGTH),
    ],
)
def test_other_self_tests(bench, cdb, code):
    assert bench.initiator().run(cdb).code == code


def test_the_log_keeps_the_results_of_twenty_self_tests(bench):
    a = bench.initiator()

    def results():
        page = log_page(a, 0x10)
        assert page[:4].hex() == "10000190"
        found = [page[at : at + 20] for at in range(4, len(page), 20)]
        assert [parameter[:4].hex() for parameter in found] == [f"{number:04x}0310" for number in range(1, 21)]
        return [parameter[4:].hex() for parameter in found]

    none, good = "00" * 16, "000000" + "ff" * 8 + "00000000"
    assert a.run("1d0400000000").good  # the default self-test has no code, and is no entry
    assert results() == [none] * 20
    assert a.run("1d2000000000").good  # the short one in the background
    bench.store.error = OSError(5, "broken")
    assert a.run("1d4000000000").good  # the extended one: it is the log that tells how it went
    assert a.run("1dc000000000").code == (4, 0x3E03)
    bench.store.error = None
    bad = "000000" + "00" * 8 + "043e0300"
    assert results() == ["c7" + bad, "47" + bad, "20" + good] + [none] * 17
    bench.unit.reset(0x2900)
    a.run(TUR)
    for _ in range(19):
        assert a.run("1da000000000").good
    assert results() == ["a0" + good] * 19 + ["c7" + bad]


def test_diagnostic_pages(bench):
    a = bench.initiator()
    assert a.run("1c01000010" + "00").data.hex() == "0000000100"
    assert a.run("1c01400010" + "00").code == FIELD


def test_the_data_buffer_is_the_units(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    assert a.run("3c03000000000000" + "0400").data.hex() == "00010000"
    assert a.run("3c0200000000000004" + "00").data == bytes(4)
    assert a.run("3b0200000fff000003" + "00", b"abc").good
    assert b.run("3c0200000ffe000005" + "00").data == b"\0abc\0"
    assert b.run("3c020000fff000ffff" + "00").data == bytes(16)
    bench.unit.reset(0x2900)
    b.run(TUR)
    assert b.run("3c0200000fff000003" + "00").data == bytes(3)


def test_echo_buffers_are_the_nexuses_own(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    assert a.run("3c0b000000000000" + "0400").data.hex() == "00001000"
    assert a.run("3b0a00000000000004" + "00", b"echo").good
    assert a.run("3c0a00000000000fff" + "00").data == b"echo"
    assert b.run("3c0a00000000000fff" + "00").code == SEQUENCE
    bench.device.detach(a.nexus)
    assert DiagnosticBuffers.of(bench.unit).echo == {}


@pytest.mark.parametrize(
    "cdb",
    ["3c0100000000000004", "3c0201000000000004", "3c0200010001000004", "3c0a00000001000004", "3b0500000000000003",
     "3b0200010001000000", "3b0200000fff010000", "3b0a00000000001001", "3b0201000000000003"],
)  # fmt: skip
def test_buffers_that_are_not_there(bench, cdb):
    assert bench.initiator().run(cdb + "00", b"abc").code == FIELD


# The clock


def test_the_clock_is_the_machines_until_it_is_set(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    bench.unit.clock = lambda: 0x0123456789AB
    report = "a30f000000000000001000" + "00"
    assert a.run(report).data.hex() == "000a0300" + "0123456789ab" + "0000"
    assert a.run("a40f000000000000000c0000", bytes.fromhex("00000000" + "0000000003e8" + "0000")).good
    bench.unit.clock = lambda: 0x0123456789AC
    assert b.run(TUR).code == (6, 0x2A10)
    assert b.run(report).data.hex() == "000a0200" + "0000000003e9" + "0000"


@pytest.mark.parametrize(("data", "code"), [(bytes(8), LIST_LENGTH), (b"\1" * 12, LIST_FIELD), (b"", None)])
def test_a_clock_set_wrongly(bench, data, code):
    assert bench.initiator().run(f"a40f00000000{len(data):08x}0000", data).code == code


# Sense data


def test_descriptor_sense(bench):
    a = bench.initiator(quiet=False)
    assert a.run("030100001200").data.hex() == "7206290000000000"
    assert a.run("030100001200").data.hex() == "7200000000000000"
