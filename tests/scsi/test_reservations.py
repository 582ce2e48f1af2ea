"""RESERVE and RELEASE."""

from __future__ import annotations

import pytest

from .support import TUR, Bench

RESERVE, RELEASE = "160000000000", "170000000000"
CONFLICT = 0x18


@pytest.fixture
def two():
    bench = Bench()
    return bench.initiator(), bench.initiator("bb")


@pytest.mark.parametrize(("reserve", "release"), [(RESERVE, RELEASE), ("56" + "00" * 9, "57" + "00" * 9)])
def test_reserve_keeps_others_out(two, reserve, release):
    a, b = two
    assert a.run(reserve).good
    assert a.run(reserve).good
    assert b.run(reserve).status == CONFLICT
    assert b.run(release).good
    for cdb in (TUR, "1a003f00ff00", "28000000000000000100", "25" + "00" * 9):
        assert b.run(cdb).status == CONFLICT
        assert a.run(cdb).good
    for cdb in ("120000006000", "a00000000000000001000000", "03000000ff00", "1e0000000000"):
        assert b.run(cdb).good
    assert b.run("1e0000000100").status == CONFLICT
    assert a.run(release).good
    assert b.run(reserve).good


def test_detach_ends_it(two):
    a, b = two
    a.run(RESERVE)
    a.device.detach(a.nexus)
    assert b.run(RESERVE).good


def test_third_party_and_extents_are_refused(two):
    a, _ = two
    assert a.run("161000000000").code == (5, 0x2400)
    assert a.run("560000000000000008 00".replace(" ", "")).code == (5, 0x2400)


def test_reserve_and_persistent_reservations_exclude_each_other(two):
    a, b = two
    assert a.run(RESERVE).good
    assert a.run("5e000000000000ff0000").status == CONFLICT
    assert b.run("5f060000000000001800", bytes(8) + b"\1" * 8 + bytes(8)).status == CONFLICT
    assert a.run(RELEASE).good
    assert a.run("5f060000000000001800", bytes(8) + b"\1" * 8 + bytes(8)).good
    assert b.run(RESERVE).status == CONFLICT
