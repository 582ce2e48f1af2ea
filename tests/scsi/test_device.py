"""The way of a task: units that are there and not, checks in their order, unit attentions, the fast path's gates."""

from __future__ import annotations

import pytest

from iscsitools.scsi.core.options import revision
from iscsitools.wire.scsi import Attribute

from .support import TUR, Bench, MemoryStore

READ_CAPACITY = "25000000000000000000"


def test_first_command_gets_the_power_on_attention_and_the_next_does_not():
    a = Bench().initiator(quiet=False)
    assert a.run(TUR).code == (6, 0x2900)
    assert a.run(TUR).good


def test_a_unit_attention_goes_before_an_unknown_operation_code():
    """SAM-5 5.14: an initiator that tries a vendor's command first learns that the unit was reset."""
    a = Bench().initiator(quiet=False)
    assert a.run("c10000000000").code == (6, 0x2900)
    assert a.run("c10000000000").code == (5, 0x2000)


def test_the_attribute_aca_is_refused_while_no_aca_is_established():
    """Never as SIMPLE (SAM-5 8.2): NORMACA is 0, so none ever is."""
    bench = Bench()
    a = bench.initiator()
    task = a.send("2a000000000500000100", b"\x11" * 512, attribute=Attribute.ACA)
    assert (task.status, task.sense[2], task.sense[12:14].hex()) == (2, 5, "4900")
    assert bench.store.data[5 * 512 : 6 * 512] == bytes(512)


@pytest.mark.parametrize(
    ("version", "level"),
    [("0.1.0", "0.1"), ("0.10.3", "0.10"), ("1.22.3", "1.22"), ("10.12.0", "10"), ("1.2.3", "1.2"), ("2026.1", "2026")],
)
def test_a_product_revision_is_whole_words(version, level):
    assert revision(version) == level


def test_inquiry_does_not_take_the_attention_and_request_sense_does():
    bench = Bench()
    a = bench.initiator(quiet=False)
    assert a.run("120000006000").good
    assert a.run("03000000ff00").data[12] == 0x29
    assert a.run(TUR).good


def test_capacity():
    a = Bench(MemoryStore(blocks=1000 * 8)).initiator()
    assert a.run(READ_CAPACITY).data.hex() == "00001f3f00000200"
    data = a.run("9e1000000000000000000000002000").data
    assert (len(data), data[:12].hex(), data[13]) == (32, "0000000000001f3f00000200", 3)


def test_what_is_written_is_read():
    a = Bench().initiator()
    block = bytes(range(256)) * 4
    assert a.run("2a000000000500000200", block).good
    assert a.run("28000000000500000200").data == block


def test_write_of_fewer_bytes_writes_whole_blocks_only():
    bench = Bench()
    a = bench.initiator()
    assert a.run("2a000000000500000200", b"\x11" * 512).good
    assert bench.store.data[5 * 512 : 7 * 512] == b"\x11" * 512 + bytes(512)
    assert a.run("2a000000000500000200", b"\x22" * 700).code == (5, 0x0E03)
    assert bench.store.data[5 * 512 : 7 * 512] == b"\x11" * 512 + bytes(512)


def test_read_of_fewer_bytes_is_cut_and_says_what_the_cdb_asked():
    a = Bench().initiator()
    task = a.send("28000000000500000200", edtl=700)
    assert (task.status, len(task.data_in), task.transfer_length) == (0, 700, 1024)


def test_range_and_opcode_errors():
    a = Bench().initiator()
    assert a.run("2800000000ff00000200").code == (5, 0x2100)
    assert a.run("ff").code == (5, 0x2000)
    answer = a.run("280100000000000001000000")
    assert answer.code == (5, 0x2400)
    assert answer.sense[15:18].hex() == "c80001"


def test_absent_unit():
    a = Bench().initiator()
    assert a.run(TUR, lun=3).code == (5, 0x2500)
    assert a.run("120000006000", lun=-1).data[0] == 0x7F
    assert a.run("a00000000000000004000000", lun=7).data.hex() == "0000000800000000" + "00" * 8
    assert a.run("03000000ff00", lun=3).data[12] == 0x25


def test_gates_follow_the_state():
    bench = Bench(removable=True)
    a = bench.initiator(quiet=False)
    itl_nexus = bench.device.itl_nexus(a.nexus, 0)
    assert itl_nexus is not None
    assert not itl_nexus.gate.read_open
    a.run(TUR)
    assert (itl_nexus.gate.read_open, itl_nexus.gate.write_open) == (True, True)
    b = bench.initiator("bb")
    b.run("160000000000")
    assert (itl_nexus.gate.read_open, itl_nexus.gate.write_open) == (False, False)
    b.run("170000000000")
    assert (itl_nexus.gate.read_open, itl_nexus.gate.write_open) == (True, True)
    b.run("1b0000000200")
    assert not itl_nexus.gate.read_open
