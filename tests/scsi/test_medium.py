"""START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, and changes of the medium and of the units."""

from __future__ import annotations

import pytest

from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit

from .support import TUR, Bench, MemoryStore

EJECT, LOAD, STOP, START = "1b0000000200", "1b0000000300", "1b0000000000", "1b0000000100"
NEEDS_MEDIUM = [
    TUR, "25" + "00" * 9, "9e10" + "00" * 14, "9e12" + "00" * 14, "28" + "00" * 9, "a8" + "00" * 11, "88" + "00" * 15,
    "080000000100", "34" + "00" * 9, "90" + "00" * 15, "35" + "00" * 9, "91" + "00" * 15, "2f" + "00" * 9,
    "af" + "00" * 11, "8f" + "00" * 15, "2a" + "00" * 9, "aa" + "00" * 11, "8a" + "00" * 15, "2e" + "00" * 9,
    "ae" + "00" * 11, "8e" + "00" * 15, "8b" + "00" * 15, "89" + "00" * 15, "41" + "00" * 9, "93" + "00" * 15,
    "42" + "00" * 9, "37" + "00" * 9, "b7" + "00" * 11,
]  # fmt: skip


@pytest.mark.parametrize("cdb", NEEDS_MEDIUM)
def test_without_a_medium(cdb):
    a = Bench(removable=True, thin=True).initiator()
    assert a.run(EJECT).good
    assert a.run(cdb).code == (2, 0x3A00)
    assert a.run("120000006000").good


def test_load_tells_the_others():
    bench = Bench(removable=True)
    a, b = bench.initiator(), bench.initiator("bb")
    a.run(EJECT)
    assert a.run(LOAD).good
    assert a.run(TUR).good
    assert b.run(TUR).code == (6, 0x2800)


@pytest.mark.parametrize(("cdb", "calls"), [(STOP, ["flush"]), ("1b0000000400", []), (START, [])])
def test_stop_writes_the_cache_out_and_the_unit_stays_ready(cdb, calls):
    bench = Bench()
    a = bench.initiator()
    assert a.run(cdb).good
    assert bench.store.calls == calls
    assert a.run(TUR).good


def test_what_is_fixed_cannot_be_ejected():
    answer = Bench().initiator().run(EJECT)
    assert (answer.code, answer.sense[15:18].hex()) == ((5, 0x2400), "c90004")


@pytest.mark.parametrize("power_condition", [1, 2, 3, 7, 10, 11])
def test_power_conditions_change_nothing(power_condition):
    a = Bench(removable=True).initiator()
    assert a.run(f"1b000000{power_condition << 4 | 2:02x}00").good
    assert a.run(TUR).good


def test_locks():
    bench = Bench(removable=True)
    a, b = bench.initiator(), bench.initiator("bb")
    assert b.run("1e0000000100").good
    assert a.run(EJECT).code == (5, 0x5302)
    assert a.run("1e0000000000").good
    assert a.run(EJECT).code == (5, 0x5302)
    bench.device.detach(b.nexus)
    assert a.run(EJECT).good
    assert a.run("1e0000000100").good
    assert a.run(LOAD).code == (5, 0x5302)


def test_resize():
    bench = Bench()
    a = bench.initiator()
    bench.unit.resize(512 * 512)
    assert a.run(TUR).code == (6, 0x2A09)
    assert a.run("25000000000000000000").data.hex() == "000001ff00000200"
    bench.unit.capacity_changed()
    assert a.run(TUR).good


def test_units_come_and_go():
    bench = Bench()
    a, b = bench.initiator(), bench.initiator("bb")
    bench.device.add_unit(LogicalUnit(300, MemoryStore(), InlineExecutor(), UnitOptions(), DISK))
    luns = a.run("a00000000000000001000000").data
    assert luns.hex() == "0000001000000000" + "0000000000000000" + "412c000000000000"
    assert a.run(TUR).good
    assert b.run(TUR).code == (6, 0x3F0E)
    assert a.run(TUR, lun=300).code == (6, 0x2900)
    with pytest.raises(ValueError, match="300"):
        bench.device.add_unit(LogicalUnit(300, MemoryStore(), InlineExecutor(), UnitOptions(), DISK))
    bench.device.remove_unit(300)
    assert b.run(TUR).code == (6, 0x3F0E)
