"""Who may copy what, what ends a copy, and how copies and tasks have their turns."""

from __future__ import annotations

import struct

import pytest

from iscsitools.scsi.copy.manager import CopyManager
from iscsitools.wire.scsi import ManagementFunction

from .copying import BLOCK, MIB, Copying, copy_list, cscd, extended_copy, receive, reserve, segment

NOT_REACHABLE, DEVICE_FAILURE, ABORTED = (0xA, 0x0D02), (0xA, 0x0D01), (0xA, 0x0000)
CONFLICT, BUSY = 0x18, 8


@pytest.fixture(params=[True, False], ids=["in threads", "here"])
def copying(request):
    return Copying(request.param)


def test_a_unit_of_another_target_is_reached_by_who_is_logged_in_there():
    copying = Copying()
    a = copying.initiator()
    data = copy_list([cscd(copying.a), cscd(copying.c)], [segment(1, 0, 1, 0, 0)])
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    there = copying.initiator(copying.two)
    assert copying.run(a, extended_copy(data), data)[0] == 0
    copying.two.detach(there.nexus)
    copying.initiator(copying.two, "b")
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    there = copying.initiator(copying.two)
    assert copying.run(a, extended_copy(data), data)[0] == 0
    there.nexus.address = "192.0.2.1"
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    there.nexus.address = ""
    there.nexus.luns = {0: 7}
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    guarded = Copying(realm="chap")
    a = guarded.initiator()
    guarded.initiator(guarded.two)
    assert guarded.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    guarded.one.realm = "chap"
    assert guarded.run(a, extended_copy(data), data)[0] == 0


def test_a_unit_that_the_initiator_does_not_see_is_none_for_it():
    copying = Copying()
    a = copying.initiator()
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(1, 0, 1, 0, 0)])
    copying.one.show(a.nexus, {0: 0})
    a.run("030000001200")
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE


@pytest.mark.parametrize(("lun", "kind", "allowed"), [(0, 1, True), (0, 3, False), (1, 1, False)])
def test_reservations_of_source_and_destination_count(lun, kind, allowed):
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    reserve(b, kind, lun)
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)])
    asked_by = 1 - lun  # the unit that is not reserved
    if allowed:
        assert copying.run(a, extended_copy(data), data, lun=asked_by)[0] == 0
    else:
        assert copying.run(a, extended_copy(data), data, lun=asked_by)[1] == DEVICE_FAILURE
        assert copying.run(a, extended_copy(data), data, lun=lun)[0] == CONFLICT
    assert (copying.b.store.data[0] == 1) == allowed


def test_who_is_fenced_meanwhile_copies_no_more():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    copying.a.store.data[:] = b"\x09" * len(copying.a.store.data)
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 4 * MIB - 1, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    copying.executor.run()
    copying.executor.run()
    reserve(b, 1, 1)
    before = bytes(copying.b.store.data)
    copying.finish()
    assert task.sense[12:14] == b"\x0d\x01"
    assert bytes(copying.b.store.data) == before


def test_write_protection_is_looked_at():
    copying = Copying()
    a = copying.initiator()
    copying.b.software_write_protect = True
    copying.b.refresh()
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)])
    assert copying.run(a, extended_copy(data), data)[1] == DEVICE_FAILURE
    details = copying.run(a, receive(4))[2]
    assert details[:4] == struct.pack(">I", len(details) - 4)
    assert details[56] == 2
    assert details[60:78][2] == 0xA
    assert details[60:78][10:12] == b"\0\0"


@pytest.mark.parametrize("function", [ManagementFunction.ABORT_TASK, ManagementFunction.LOGICAL_UNIT_RESET])
def test_an_abort_ends_it_once_the_step_has_returned(function):
    copying = Copying()
    a = copying.initiator()
    copying.executor.begins = False
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 2 * MIB, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    assert len(copying.executor.held) == 1
    copying.one.manage(function, a.nexus, 0, task.tag)
    assert a.released == [task]
    assert copying.executor.held == []
    assert list(copying.a.tasks) == list(copying.b.tasks) == []
    assert copying.domain.part(CopyManager).running == {}
    assert set(copying.b.store.data) == {2}


def test_what_a_thread_is_at_keeps_its_blocks():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 8, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    copying.one.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)
    assert a.released == []
    late = b.send("2a000000000000000100", bytes([7]) * BLOCK, lun=1)
    assert late not in b.ended
    copying.finish()
    assert a.released == [task]
    assert copying.b.store.data[0] == 7


@pytest.mark.parametrize("how", ["session", "source", "destination"])
def test_the_end_of_what_it_needs_ends_it(how):
    copying = Copying()
    a = copying.initiator()
    there = copying.initiator(copying.two)
    data = copy_list([cscd(copying.b), cscd(copying.c)], [segment(0, 1, 2 * MIB, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    copying.executor.run()
    if how == "session":
        copying.two.detach(there.nexus)
    elif how == "source":
        copying.one.remove_unit(1)
    else:
        copying.two.remove_unit(0)
    copying.finish()
    assert task.sense[2] == 0xA
    assert copying.domain.part(CopyManager).running == {}


@pytest.mark.parametrize("attribute", [1, 2, 3])
def test_ordered_tasks_and_a_copy_do_not_wait_for_each_other(copying, attribute):
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 2 * MIB, 0, 0)])
    task = a.begin(a.task(extended_copy(data), data, attribute=attribute), data)
    ordered = [b.send("2a000000000000000100", bytes(BLOCK), lun=lun, attribute=2) for lun in (0, 1)]
    copying.finish()
    assert task.status == 0
    assert task in a.ended
    assert [each.status for each in ordered] == [0, 0]
    assert all(each in b.ended for each in ordered)


def test_others_get_their_turn_between_two_pieces():
    copying = Copying(blocking=False)
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 4 * MIB - 1, 0, 0)])
    task = a.send(extended_copy(data), data)
    for _ in range(4):
        copying.executor.step()
        read = b.send("28000000100000000100")
        assert read in b.ended
        assert task not in a.ended
    copying.finish()
    assert task.status == 0
