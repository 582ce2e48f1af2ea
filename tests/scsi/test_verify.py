"""VERIFY and COMPARE AND WRITE."""

from __future__ import annotations

import pytest

from .support import Bench

ZEROS = bytes(1024)


VERIFY = ["2f{:02x}0000000500000200", "af{:02x}00000005000000020000", "8f{:02x}0000000000000005000000020000"]


@pytest.mark.parametrize("cdb", VERIFY)
def test_verify(cdb):
    bench = Bench()
    a = bench.initiator()
    assert a.run(cdb.format(0)).good
    assert a.run(cdb.format(2), ZEROS).good
    bench.store.data[6 * 512 + 3] = 1
    answer = a.run(cdb.format(2), ZEROS)
    assert (answer.code, answer.sense[:7].hex()) == ((0xE, 0x1D00), "f0000e00000006")
    assert a.run(cdb.format(6), ZEROS[:512]).code == (0xE, 0x1D00)
    assert a.run(cdb.format(4), ZEROS).code == (5, 0x2400)


def test_verify_without_data_reads_all_of_the_range():
    bench = Bench()
    assert bench.initiator().run("2f000000000000010000").good
    assert bench.store.calls == ["read"]


def test_compare_and_write_writes_when_equal():
    bench = Bench()
    a = bench.initiator()
    assert a.run("89000000000000000005000000010000", bytes(512) + b"\x11" * 512).good
    assert bench.store.data[5 * 512 : 6 * 512] == b"\x11" * 512


def test_compare_and_write_leaves_what_differs():
    bench = Bench()
    bench.store.data[5 * 512 + 300] = 9
    a = bench.initiator()
    answer = a.run("89000000000000000005000000010000", bytes(512) + b"\x11" * 512)
    assert (answer.code, answer.sense[3:7].hex()) == ((0xE, 0x1D00), "0000012c")
    assert bench.store.data[5 * 512 : 6 * 512].count(0x11) == 0


@pytest.mark.parametrize("length", [512, 2048, 0])
def test_compare_and_write_refuses_another_length(length):
    a = Bench().initiator()
    answer = a.run("89000000000000000005000000010000", bytes(length))
    assert answer.code == (5, 0x2400)
    assert a.run("89000000000000000100000000010000", bytes(1024)).code == (5, 0x2100)
    assert a.run("89200000000000000005000000010000", bytes(1024)).code == (5, 0x2400)
