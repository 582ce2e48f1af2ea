"""Who finds room in a task set, who waits for whom, and what excludes whom."""

from __future__ import annotations

import pytest

from iscsitools.wire.scsi import Attribute, ManagementFunction

from .support import READ, TUR, WRITE, Bench, MemoryStore

BLOCK = b"\x11" * 512
FULL = 0x28

ESSENTIAL = {
    "INQUIRY": "120000002400",
    "REPORT LUNS": "a00000000000000010000000",
    "TEST UNIT READY": TUR,
    "REQUEST SENSE": "030000001200",
    "PERSISTENT RESERVE IN": "5e000000000000001000",
}


def read(lba: int, blocks: int = 1) -> str:
    return f"28{0:02x}{lba:08x}00{blocks:04x}00"


def write(lba: int, blocks: int = 1) -> str:
    return f"2a{0:02x}{lba:08x}00{blocks:04x}00"


@pytest.fixture
def bench():
    return Bench(MemoryStore(blocking=True), queue_depth=32)


def unsent(initiator, cdb: str = WRITE, attribute: int = Attribute.SIMPLE):
    """A write of which the data does not come yet."""
    task = initiator.task(cdb, BLOCK, attribute=attribute)
    assert initiator.device.accept(task)
    return task


def bring(task, data: bytes = BLOCK):
    task.data_out = memoryview(data)
    task.execute()


# Room


def test_one_that_fills_the_set_leaves_every_other_its_places(bench):
    a, b, c = bench.initiator(), bench.initiator("bb"), bench.initiator("ccc")
    for number in range(32):
        a.send(read(number))
    assert a.run(READ).status == FULL
    for other in (b, c):
        for _ in range(2):
            assert other.send(READ) not in other.ended
        assert other.run(READ).status == FULL
    assert len(bench.unit.tasks) == 36
    bench.finish()
    assert a.run(TUR).good


@pytest.mark.parametrize("cdb", ESSENTIAL.values(), ids=ESSENTIAL)
def test_essential_commands_find_room_in_a_full_set(bench, cdb):
    a = bench.initiator()
    for number in range(32):
        a.send(read(number))
    assert a.run(READ).status == FULL
    assert a.run(cdb).good


def test_a_busy_node_can_be_fenced(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    register = bytes(8) + (5).to_bytes(8, "big") + bytes(8)
    for number in range(32):
        a.send(read(number))
    for number in range(2):
        b.send(read(number))
    assert b.run("5f060000000000001800", register).good
    assert b.run("5f010100000000001800", register[8:16] + bytes(16)).good
    assert a.run(TUR).status == 0


def test_places_for_essential_commands_are_bounded(bench):
    a = bench.initiator()
    a.send(WRITE, BLOCK, attribute=Attribute.ORDERED)
    for _ in range(31):
        a.send(TUR)
    assert a.run(TUR).status == FULL


# Who waits for whom


@pytest.mark.parametrize("attribute", [Attribute.SIMPLE, Attribute.ORDERED, Attribute.HEAD_OF_QUEUE])
def test_a_barrier_does_not_wait_for_anothers_task_without_data(bench, attribute):
    a, b = bench.initiator(), bench.initiator("bb")
    unsent(b, attribute=attribute)
    ordered = a.send(TUR, attribute=Attribute.ORDERED)
    select = a.send("15100000180000"[:12], bytes.fromhex("000000000a0a00100000000000000000"), edtl=16)
    assert ordered in a.ended
    assert select in a.ended
    assert b.send(TUR) not in b.ended or attribute != Attribute.ORDERED


def test_a_task_waits_for_its_own_nexuss_task_without_data(bench):
    a = bench.initiator()
    first = unsent(a)
    ordered = a.send(TUR, attribute=Attribute.ORDERED)
    later = a.send(TUR)
    assert not {ordered, later} & set(a.ended)
    bring(first)
    bench.finish()
    assert a.ended[-3:] == [first, ordered, later]


def test_who_waits_for_anothers_lost_data_stops_nobody_else(bench):
    """An ORDERED task that waits for its own nexus's data is not enabled either."""
    a, b = bench.initiator(), bench.initiator("bb")
    unsent(b)
    b.send(TUR, attribute=Attribute.ORDERED)
    assert a.run(TUR).good
    assert a.send(TUR, attribute=Attribute.ORDERED) in a.ended


def test_once_its_data_came_it_is_waited_for(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    late = unsent(b, attribute=Attribute.ORDERED)
    assert a.run(TUR).good
    bring(late)
    waits = a.send(TUR)
    assert waits not in a.ended
    bench.finish()
    assert (late in b.ended, waits in a.ended) == (True, True)


def test_aborting_what_lacked_its_data_lets_its_nexus_go_on(bench):
    a = bench.initiator()
    first = unsent(a, attribute=Attribute.ORDERED)
    later = a.send(TUR)
    assert later not in a.ended
    bench.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, first.tag)
    assert later in a.ended


# What excludes whom


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (read(0, 8), read(4, 8), True),
        (read(0, 8), write(7), False),
        (write(0), read(0, 8), False),
        (write(0), write(0), False),
        (write(0), write(1), True),
        (read(0, 8), write(8), True),
        ("91000000000000000000000000000000", write(0), True),  # SYNCHRONIZE CACHE
        (write(5), "420000000000000018" + "00", False),  # UNMAP of 4 to 8, below
        (write(9), "420000000000000018" + "00", True),
    ],
)
def test_commands_on_the_same_blocks_exclude_each_other(first, second, together):
    bench = Bench(MemoryStore(blocking=True), thin=True)
    a, b = bench.initiator(), bench.initiator("bb")
    unmap = bytes.fromhex("0016001000000000" + "0000000000000004" + "00000004" + "00000000")
    for initiator, cdb in ((a, first), (b, second)):
        initiator.send(cdb, unmap if cdb[:2] == "42" else BLOCK if cdb[:2] == "2a" else b"")
    assert len(bench.executor.held) == 1 + together
    bench.finish()
    assert (len(a.ended), len(b.ended)) == (2, 2)
    assert (bench.unit.tasks.reading, bench.unit.tasks.writing) == (0, 0)


def test_the_fast_path_is_shut_while_a_thread_works_on_blocks(bench):
    a = bench.initiator()
    gate = bench.device.itl_nexus(a.nexus, 0).gate
    assert (gate.read_open, gate.write_open) == (True, True)
    a.send(READ)
    assert (gate.read_open, gate.write_open) == (True, False)
    a.send(write(5), BLOCK)
    assert (gate.read_open, gate.write_open) == (False, False)
    bench.finish()
    assert (gate.read_open, gate.write_open) == (True, True)


@pytest.mark.parametrize("later", [read(0), write(0)])
@pytest.mark.parametrize("how", ["abort", "abort task set", "reset", "lost nexus"])
def test_an_aborted_write_that_still_runs_is_a_fence_for_its_blocks(bench, how, later):
    """It may change them until it has returned: nobody reads what it leaves half, and it replaces nobody's data."""
    a, b = bench.initiator(), bench.initiator("bb")
    gate = bench.device.itl_nexus(b.nexus, 0).gate
    task = a.send(write(0), BLOCK)
    if how == "lost nexus":
        bench.device.detach(a.nexus)
    else:
        function = {
            "abort": ManagementFunction.ABORT_TASK,
            "abort task set": ManagementFunction.ABORT_TASK_SET,
            "reset": ManagementFunction.LOGICAL_UNIT_RESET,
        }[how]
        bench.device.manage(function, a.nexus, 0, task.tag)
    assert task.aborted
    if how == "reset":
        b.run("030000001200")  # takes the unit attention
    after = b.send(later, b"\x33" * 512 if later == write(0) else b"")
    elsewhere = b.send(write(5), b"\x44" * 512)
    assert (gate.read_open, gate.write_open) == (False, False)
    # The aborted write and the one to other blocks are at work; what shares its blocks waits.
    assert (bench.unit.tasks.at_work, len(bench.executor.held), after in b.ended) == (2, 2, False)
    bench.finish()
    assert {after, elsewhere} <= set(b.ended)
    assert (after.status, elsewhere.status) == (0, 0)
    if later == read(0):
        assert bytes(after.data_in)[:512] == BLOCK
    assert bench.store.data[0] == (0x33 if later == write(0) else 0x11)
    assert (gate.read_open, gate.write_open) == (True, True)


def test_a_later_read_does_not_overtake_a_write_that_waits_for_its_blocks(bench):
    a = bench.initiator()
    a.send(read(0, 8))
    a.send(write(0), BLOCK)
    late = a.send(read(0, 4))
    assert len(bench.executor.held) == 1
    bench.finish()
    assert bytes(late.data_in)[:512] == BLOCK


def test_an_exclusive_command_waits_for_a_later_one_that_went_before_it(bench):
    """MODE SELECT that turns the write cache off, and a HEAD OF QUEUE write that started while it waited."""
    a = bench.initiator()
    a.send(READ)
    page = bytes.fromhex("00000000" + "0812" + "00" * 18)
    select = a.send("151000001800", page)
    a.send(write(9), BLOCK, attribute=Attribute.HEAD_OF_QUEUE)
    assert len(bench.executor.held) == 2
    bench.executor.run(0)
    assert (len(bench.executor.held), select in a.ended) == (1, False)
    bench.executor.run(0)
    assert len(bench.executor.held) == 1  # its flush
    bench.finish()
    assert select in a.ended


# Decided when it runs

PREEMPT = "5f040500000000001800"
REGISTER = "5f060000000000001800"
RESERVE = "5f010500000000001800"


def keys(own: int, other: int = 0) -> bytes:
    return own.to_bytes(8, "big") + other.to_bytes(8, "big") + bytes(8)


@pytest.mark.parametrize("how", ["PREEMPT", "RESERVE(6)"])
def test_a_write_that_was_fenced_while_its_data_was_on_the_way_conflicts(bench, how):
    a, b = bench.initiator(), bench.initiator("bb")
    if how == "PREEMPT":
        assert a.run(REGISTER, keys(0, 1)).good
        assert b.run(REGISTER, keys(0, 2)).good
        assert b.run(RESERVE, keys(2)).good
    late = unsent(b)
    assert (a.run(PREEMPT, keys(1, 2)) if how == "PREEMPT" else a.run("160000000000")).good
    bring(late)
    bench.finish()
    assert late.status == 0x18
    assert bench.store.data[0] == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda bench, a: bench.unit.resize(8 * 512, print), (5, 0x2100)),
        (lambda bench, a: a.send("1b0000000200"), (2, 0x3A00)),
        (lambda bench, a: a.run("151000001000", bytes.fromhex("000000000a0a00100800000000000000")), (7, 0x2702)),
    ],
    ids=["shrunk", "ejected", "write-protected"],
)
@pytest.mark.parametrize("cdb", [write(8), f"93{0:02x}{8:016x}{1:08x}0000"], ids=["WRITE", "WRITE SAME"])
def test_what_changed_while_the_data_was_on_the_way_counts(change, code, cdb):
    bench = Bench(MemoryStore(blocking=True), removable=True)
    a, b = bench.initiator(), bench.initiator("bb")
    late = unsent(b, cdb)
    change(bench, a)
    bench.finish()
    bring(late)
    bench.finish()
    assert (late.sense[2], late.sense[12] << 8 | late.sense[13]) == code
    assert bench.store.calls.count("write") == 0
