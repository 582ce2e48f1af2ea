"""Logical block provisioning: how much is used and free, and thresholds of that."""

from __future__ import annotations

import struct

import pytest

from iscsitools.backstores.base import Space
from iscsitools.wire.scsi import ManagementFunction

from .support import TUR, Bench, Initiator, MemoryStore

MIB = 1 << 20
REACHED = (6, 0x3807)
AVAILABLE, USED = 1, 2


@pytest.fixture(params=[False, True], ids=["here", "in a thread"])
def bench(request):
    store = MemoryStore(blocks=64 * 2048, blocking=request.param)
    store.told = Space(10 * MIB, 30 * MIB)
    return Bench(store, thin=True)


def look(bench: Bench) -> None:
    bench.device.look()
    bench.finish()


def choose(a: Initiator, available: int | None = None, used: int | None = None, told: bool = True) -> None:
    """Enable thresholds, and have them told (LBPERE)."""
    recovery = bytes.fromhex("010ac00000000080" if told else "010ac00000000000").ljust(12, b"\0")
    page = struct.pack(
        ">BBH12xBB2xIBB2xI", 0x5C, 2, 28, (available is not None) << 7, AVAILABLE, available or 0,
        1 | (used is not None) << 7, USED, used or 0,
    )  # fmt: skip
    data = bytes(4) + recovery + page
    assert a.run(bytes([0x15, 0x10, 0, 0, len(data), 0]), data).good


def run(bench: Bench, a: Initiator, cdb: str):
    task = a.send(cdb)
    bench.finish()
    assert task in a.ended
    return bytes(task.data_in)


def test_the_log_page_counts_threshold_sets(bench):
    a = bench.initiator()
    assert a.run("1201b2001000").data[4:].hex() == "0be40200"  # sets of 2048 blocks
    assert 0x0C in run(bench, a, "4d004000000000001000")
    page = run(bench, a, "4d004c00000000004000")
    assert page.hex() == "0c000018" + "000103080000001e02000000" + "000203080000000a01000000"
    bench.store.told = Space(60 * MIB + 1, 1 << 40)
    page = run(bench, a, "4d004c00000000004000")
    assert (page[11], page[23]) == (3, 61), "more than its size is never needed"


def test_where_nothing_is_known_there_are_no_thresholds():
    bench = Bench(thin=True)
    a = bench.initiator()
    assert a.run("1201b2001000").data[4] == 0
    assert a.run("4d004c00000000004000").code == (5, 0x2400)
    assert a.run("1a085c02ff00").code == (5, 0x2400)
    assert a.run("1a084100ff00").data[4:] == bytes([1, 10, *bytes(10)]), "LBPERE cannot be set"


def test_the_mode_page(bench):
    a = bench.initiator()
    assert (
        a.run("1a081c02ff00").data[4:].hex() == "5c02001c" + bytes(12).hex() + "0001000000000000" + "0102000000000000"
    )
    assert a.run("1a085c02ff00").data[4:].hex() == "5c02001c" + bytes(12).hex() + "80000000ffffffff" * 2
    every = a.run("1a083fffff00").data
    assert every.endswith(a.run("1a081c02ff00").data[4:])
    assert not a.run("1a083f00ff00").data.endswith(a.run("1a081c02ff00").data[4:])
    assert a.run("1a081cffff00").data[4:14] == a.run("1a081c00ff00").data[4:14]
    for field, value in ((4, 1), (16, 0x88), (17, 2), (18, 1), (24, 0)):
        page = bytearray(a.run("1a081c02ff00").data[4:])
        page[field] = value
        data = bytes(4) + page
        answer = a.run(bytes([0x15, 0x10, 0, 0, len(data), 0]), data)
        assert (answer.code, answer.sense[16:18]) == ((5, 0x2600), bytes([0, 4 + field]))


@pytest.mark.parametrize(
    ("limits", "below", "reached"),
    [
        ({"available": 20}, Space(10 * MIB, 21 * MIB), Space(10 * MIB, 20 * MIB)),
        ({"available": 20}, Space(43 * MIB, 90 * MIB), Space(44 * MIB, 90 * MIB)),
        ({"used": 40}, Space(39 * MIB, MIB), Space(39 * MIB + 1, MIB)),
    ],
)
def test_all_learn_once_that_a_threshold_is_reached(bench, limits, below, reached):
    a, b = bench.initiator(), bench.initiator("bb")
    bench.store.told = below
    choose(a, **limits)
    b.run(TUR)  # MODE PARAMETERS CHANGED
    look(bench)
    assert a.run(TUR).good
    bench.store.told = reached
    look(bench)
    look(bench)
    for initiator in (a, b):
        assert initiator.run(TUR).code == REACHED
        assert initiator.run(TUR).good
    bench.store.told = below
    look(bench)
    bench.store.told = reached
    look(bench)
    assert a.run("030000001200").data[12:14] == b"\x38\x07"
    bench.device.manage(ManagementFunction.LOGICAL_UNIT_RESET, a.nexus, 0, 0)
    assert a.run(TUR).code == (6, 0x2903)
    look(bench)
    assert a.run(TUR).good, "a reset brings the default back: no threshold is enabled"


@pytest.mark.parametrize("options", [{"used": None}, {"used": 10, "told": False}])
def test_what_is_not_enabled_is_not_told(bench, options):
    a = bench.initiator()
    choose(a, **options)
    look(bench)
    assert a.run(TUR).good


def test_a_backstore_that_does_not_say_is_asked_again(bench):
    a = bench.initiator()
    choose(a, used=10)
    told, bench.store.told = bench.store.told, None
    look(bench)
    assert a.run(TUR).good
    bench.store.told = told
    look(bench)
    assert a.run(TUR).code == REACHED


def test_one_question_at_a_time():
    store = MemoryStore(blocks=64 * 2048, blocking=True)
    store.told = Space(10 * MIB, 30 * MIB)
    bench = Bench(store, thin=True)
    choose(bench.initiator(), used=10)
    for _ in range(3):
        bench.device.look()
    assert len(bench.executor.held) == 1
