"""INQUIRY and its pages, byte by byte."""

from __future__ import annotations

import pytest

from iscsitools.scsi.core.identity import derive_identity
from iscsitools.scsi.core.options import MAX_TRANSFER

from .support import TARGET, Bench, MemoryStore


def test_standard_data():
    data = Bench(removable=True, revision="1.2").initiator().run("120000006000").data
    assert data[:8].hex() == "008006125b080002"
    assert data[8:36] == b"ISCSITLSiscsitools disk 1.2 "
    assert data[58:66].hex() == "00a0046004c00960"
    assert len(data) == 96


def test_allocation_length_cuts():
    assert len(Bench().initiator().run("120000002400").data) == 36
    assert Bench().initiator().run("120000000000").data == b""


@pytest.mark.parametrize("cdb", ["120001006000", "1201ee006000", "1202000060 00"])
def test_bad_page_fields(cdb):
    assert Bench().initiator().run(cdb).code == (5, 0x2400)


def test_supported_pages_are_the_ones_that_answer():
    a = Bench().initiator()
    pages = a.run("120100010000").data[4:]
    assert pages.hex() == "008083868fb0b1b2"
    for page in pages:
        data = a.run(bytes([0x12, 1, page, 2, 0, 0])).data
        assert data[1] == page
        assert len(data) == 4 + int.from_bytes(data[2:4], "big")


def test_serial_and_designators():
    a = Bench(serial="S123").initiator()
    assert a.run("120180010000").data == b"\x00\x80\x00\x04S123"
    data = a.run("120183010000").data
    naa = derive_identity("", 0, "", "S123").naa
    assert data[4:16] == b"\x01\x03\x00\x08" + naa
    assert naa[0] >> 4 == 3
    assert f"{TARGET},t,0x0001\0".encode() in data


def test_identity_depends_on_what_it_is_derived_from():
    one = derive_identity("iqn.a", 0, "file:x")
    assert one == derive_identity("iqn.a", 0, "file:x")
    assert one != derive_identity("iqn.a", 1, "file:x")
    assert one != derive_identity("iqn.b", 0, "file:x")
    assert derive_identity("iqn.a", 0, "x", "S") == derive_identity("iqn.b", 7, "y", "S")


def test_block_limits_of_a_thin_and_a_thick_unit():
    thin = Bench(thin=True).initiator().run("1201b0010000").data
    assert thin[:8].hex() == "00b0003c00ff0008"
    assert int.from_bytes(thin[8:12], "big") == MAX_TRANSFER // 512
    assert thin[20:36].hex() == "ffffffff000001000000000880000000"
    assert int.from_bytes(thin[36:44], "big") == 0xFFFF
    assert len(thin) == 64
    assert Bench().initiator().run("1201b0010000").data[20:36] == bytes(16)
    # OPTIMAL TRANSFER LENGTH: 2 MiB, a multiple of the physical block; Linux's sd takes its own 1280 KiB without one
    assert int.from_bytes(thin[12:16], "big") * 512 == 2 << 20


def test_provisioning_page():
    assert Bench(thin=True).initiator().run("1201b2010000").data.hex() == "00b2000400e40200"
    assert Bench().initiator().run("1201b2010000").data.hex() == "00b2000400000000"


def test_thin_needs_a_thin_backstore():
    store = MemoryStore()
    store.caps = type(store.caps)()
    a = Bench(store, thin=True).initiator()
    assert a.run("9e1000000000000000000000002000").data[14] == 0
    assert a.run("42000000000000000000").code == (5, 0x2000)
