"""START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, and changes of the medium and of the units."""

from __future__ import annotations

import pytest

from iscsitools.backstores.base import MediumError
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
    done = []
    bench.unit.resize(512 * 512, done.append)
    assert done == [None]
    assert a.run(TUR).code == (6, 0x2A09)
    assert a.run("25000000000000000000").data.hex() == "000001ff00000200"
    bench.unit.capacity_changed()
    assert a.run(TUR).good


def test_a_disk_that_blocks_is_resized_in_a_thread():
    """It may wait for commands in the disk, of which only this thread learns that they have ended."""
    bench = Bench(MemoryStore(blocking=True))
    bench.executor.begins = False
    a, done = bench.initiator(), []
    bench.unit.resize(512 * 512, done.append)
    assert (bench.store.size, done) == (256 * 512, [])
    bench.finish()
    assert (bench.store.size, done) == (512 * 512, [None])
    assert a.run(TUR).code == (6, 0x2A09)
    bench.store.resize = failing(OSError(28, "full"))
    bench.unit.resize(1024 * 512, done.append)
    bench.finish()
    assert (bench.unit.blocks, done[1].errno, bench.unit.end_of_resize) == (512, 28, None)
    assert a.run(TUR).good


def failing(error):
    def fails(*_):
        raise error

    return fails


OUT_OF_RANGE, WRITE_ERROR, READ_ERROR = (5, 0x2100), (3, 0x0C00), (3, 0x1100)


@pytest.mark.parametrize(
    ("cdb", "out"),
    [
        ("2a000000000f00000200", bytes(1024)), ("28000000000f00000200", b""), ("2a080000001000000100", bytes(512)),
        ("9300000000000000000f000000040000", bytes(512)),
    ],
    ids=["WRITE", "READ", "FUA", "WRITE SAME"],
)  # fmt: skip
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("error", [MediumError("it ends", 16 * 512), OSError(22, "invalid")], ids=["medium", "errno"])
def test_what_is_at_work_beyond_the_end_of_a_disk_that_shrinks_is_out_of_range(cdb, out, told, error, caplog):
    """Whether initiators know of the new size already, when it fails, or not."""
    store = MemoryStore(blocking=True)
    bench = Bench(store)
    a = bench.initiator()
    bench.executor.begins = False
    task = a.send(cdb, out)
    bench.unit.resizing(16 * 512)
    store.resize(16 * 512)
    if told:
        bench.unit.capacity_changed()
    store.error = error
    bench.finish()
    assert (task.sense[2], task.sense[12] << 8 | task.sense[13]) == OUT_OF_RANGE
    assert (caplog.records, sum(bench.unit.failures.values())) == ([], 0)


@pytest.mark.parametrize("offset", [0, 15 * 512])
def test_what_fails_within_a_disk_that_shrinks_is_the_mediums(offset):
    bench = Bench(MemoryStore(blocking=True))
    a = bench.initiator()
    bench.unit.resizing(16 * 512)
    bench.store.error = MediumError("broken", offset)
    a_write = a.send("2a000000000f00000200", bytes(1024))
    bench.finish()
    assert (a_write.sense[2], a_write.sense[12] << 8) == WRITE_ERROR
    bench.store.error = MediumError("it ends", 16 * 512)
    bench.unit.capacity_changed()  # it was not made smaller after all
    a_read = a.send("28000000000f00000200")
    bench.finish()
    assert (a_read.sense[2], a_read.sense[12] << 8) == READ_ERROR


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
