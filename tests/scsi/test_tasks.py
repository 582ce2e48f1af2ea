"""The task set's order, task management, and threads that end late."""

from __future__ import annotations

import pytest

from iscsitools.scsi.sbc.medium import Medium
from iscsitools.wire.scsi import Attribute, ManagementFunction, ManagementResponse

from .support import READ, TUR, WRITE, Bench, MemoryStore

OTHER_READ = "28000000000800000100"
COMPARE = "89000000000000000000000000010000"


@pytest.fixture
def bench():
    return Bench(MemoryStore(blocking=True), queue_depth=4)


def test_blocking_reads_end_in_any_order(bench):
    a = bench.initiator()
    first, second = a.send(READ), a.send(READ)
    bench.executor.run(1)
    bench.executor.run(0)
    assert a.ended[-2:] == [second, first]


def test_task_set_full(bench):
    a = bench.initiator()
    for _ in range(4):
        a.send(READ)
    assert a.run(READ).status == 0x28
    bench.executor.run()
    a.send(READ)
    assert len(bench.executor.held) == 4


def test_ordered_waits_and_is_waited_for(bench):
    a = bench.initiator()
    simple = a.send(READ)
    ordered = a.send(READ, attribute=Attribute.ORDERED)
    later = a.send(TUR)
    assert len(bench.executor.held) == 1
    assert later not in a.ended
    bench.executor.run()
    assert len(bench.executor.held) == 1
    bench.executor.run()
    assert a.ended[-3:] == [simple, ordered, later]


def test_head_of_queue_does_not_wait(bench):
    a = bench.initiator()
    a.send(READ)
    a.send(READ, attribute=Attribute.ORDERED)
    head = a.send(TUR, attribute=Attribute.HEAD_OF_QUEUE)
    assert head in a.ended


@pytest.mark.parametrize("attribute", [Attribute.SIMPLE, Attribute.HEAD_OF_QUEUE])
def test_nothing_touches_the_blocks_of_a_compare_and_write_meanwhile(bench, attribute):
    a, b = bench.initiator(), bench.initiator("bb")
    itl_nexus = bench.device.itl_nexus(a.nexus, 0)
    assert itl_nexus is not None
    b.send(READ)
    compare = a.send(COMPARE, bytes(512) + b"\x11" * 512, attribute=attribute)
    later = b.send(READ)
    other = b.send(OTHER_READ)
    assert len(bench.executor.held) == 1 + (attribute == Attribute.SIMPLE)
    bench.executor.run()
    assert not itl_nexus.gate.read_open
    assert compare not in a.ended
    bench.finish()
    assert compare in a.ended
    assert other in b.ended
    assert bytes(later.data_in) == b"\x11" * 512
    assert (itl_nexus.gate.read_open, itl_nexus.gate.write_open) == (True, True)


def test_many_waiting_tasks_start_without_deep_recursion():
    bench = Bench(MemoryStore(blocking=True), queue_depth=2000)
    a = bench.initiator()
    a.send(READ, attribute=Attribute.ORDERED)
    for _ in range(1500):
        a.send(TUR, attribute=Attribute.ORDERED)
    bench.executor.run()
    assert len(a.ended) == 1502  # and the REQUEST SENSE of the fixture


def test_waiting_task_is_checked_again(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    a.send(READ)
    a.send("160000000000", attribute=Attribute.ORDERED)
    late = b.send(READ)
    bench.executor.run()
    assert late.status == 0x18


def test_abort_of_a_running_write_keeps_its_buffer_until_it_returns(bench):
    a = bench.initiator()
    task = a.send(WRITE, b"\x11" * 512)
    response, ended = bench.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)
    assert (response, ended, task.aborted, a.released) == (ManagementResponse.COMPLETE, [task], True, [])
    bench.executor.run()
    assert a.released == [task]
    assert task not in a.ended


def test_abort_of_a_call_that_no_thread_has_begun_takes_it_back(bench):
    bench.executor.begins = False
    a = bench.initiator()
    task = a.send(WRITE, b"\x11" * 512)
    response, ended = bench.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)
    assert (response, ended, a.released) == (ManagementResponse.COMPLETE, [task], [task])
    assert list(bench.unit.tasks) == []
    assert (bench.executor.held, bench.store.data[0]) == ([], 0)
    assert task not in a.ended


def test_abort_before_the_data_came_releases_at_once(bench):
    a = bench.initiator()
    task = a.task(WRITE, bytes(512))
    assert bench.device.accept(task)
    bench.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)
    assert a.released == [task]
    task.execute()
    assert bench.executor.held == []
    assert (
        bench.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)[0] == ManagementResponse.NO_SUCH_TASK
    )


def test_aborted_write_still_holds_back_an_exclusive_task(bench):
    a = bench.initiator()
    task = a.send(WRITE, b"\x22" * 512)
    bench.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)
    compare = a.send(COMPARE, b"\x22" * 512 + b"\x33" * 512)
    assert len(bench.executor.held) == 1
    bench.executor.run()
    bench.executor.run()
    assert compare.status == 0
    assert bench.store.data[0] == 0x33


def test_abort_task_set_is_of_its_nexus_only(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    mine, other = a.send(READ), b.send(READ)
    ended = bench.device.manage(ManagementFunction.ABORT_TASK_SET, a.nexus, 0, 0)[1]
    assert (ended, other.aborted) == ([mine], False)


def test_clear_task_set_tells_the_others(bench):
    a, b, c = bench.initiator(), bench.initiator("bb"), bench.initiator("ccc")
    mine, other = a.send(READ), b.send(READ)
    assert bench.device.manage(ManagementFunction.CLEAR_TASK_SET, a.nexus, 0, 0)[1] == [mine, other]
    assert b.run(TUR).code == (6, 0x2F00)
    assert a.run(TUR).good
    assert c.run(TUR).good


def test_clearing_starts_none_of_the_cleared(bench):
    a = bench.initiator()
    unsent = a.task(WRITE, bytes(512), attribute=Attribute.ORDERED)
    bench.device.accept(unsent)
    waiting = a.send(TUR)
    assert bench.device.manage(ManagementFunction.CLEAR_TASK_SET, a.nexus, 0, 0)[1] == [unsent, waiting]
    assert waiting not in a.ended
    assert a.released == [unsent, waiting]


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (ManagementFunction.LOGICAL_UNIT_RESET, 0x2903),
        (ManagementFunction.TARGET_WARM_RESET, 0x2900),
        (ManagementFunction.TARGET_COLD_RESET, 0x2900),
    ],
)
def test_resets(bench, function, code):
    a, b = bench.initiator(), bench.initiator("bb")
    a.run("160000000000")
    a.run("1e0000000100")
    task = a.send(READ)
    assert bench.device.manage(function, b.nexus, 0, 0) == (ManagementResponse.COMPLETE, [task])
    for initiator in (a, b):
        assert initiator.run(TUR).code == (6, code)
    assert bench.unit.reservations.holder is None
    assert not Medium.of(bench.unit).locks


@pytest.mark.parametrize(
    ("function", "lun", "response"),
    [
        (ManagementFunction.ABORT_TASK, 0, ManagementResponse.NO_SUCH_TASK),
        (ManagementFunction.LOGICAL_UNIT_RESET, 5, ManagementResponse.NO_SUCH_LUN),
        (ManagementFunction.CLEAR_ACA, 0, ManagementResponse.NOT_SUPPORTED),
        (ManagementFunction.TASK_REASSIGN, 0, ManagementResponse.NO_REASSIGNMENT),
        (99, 0, ManagementResponse.REJECTED),
    ],
)
def test_responses(bench, function, lun, response):
    assert bench.device.manage(function, bench.initiator().nexus, lun, 12345) == (response, [])


def test_detach_ends_everything_of_the_nexus(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    a.run("160000000000")
    running = a.send(READ)
    waiting = a.task(WRITE, bytes(512))
    bench.device.accept(waiting)
    bench.device.detach(a.nexus)
    assert a.released == [waiting]
    bench.executor.run()
    assert a.released == [waiting, running]
    assert b.run(TUR).good
    assert bench.device.itl_nexus(a.nexus, 0) is None


def test_removed_unit_ends_its_tasks_and_closes_its_gates(bench):
    a = bench.initiator()
    itl_nexus = bench.device.itl_nexus(a.nexus, 0)
    assert itl_nexus is not None
    assert itl_nexus.gate.read_open
    task = a.send(READ)
    assert bench.device.remove_unit(0) == [task]
    assert not itl_nexus.gate.read_open
    bench.executor.run()
    assert a.released == [task]
    assert a.run(TUR).code == (5, 0x2500)


def test_a_command_without_data_asks_for_none_and_says_nothing_of_its_length(bench):
    a = bench.initiator()
    task = a.task(TUR, out=bytes(512))
    assert not task.accepted
    assert bench.device.accept(task)
    assert (task.data_out_length, task.transfer_length, task.accepted) == (0, -1, True)
