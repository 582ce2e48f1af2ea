"""The task set by itself, with tasks that do nothing: places, who is told of what, and what excludes what."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from iscsitools.scsi.core.gate import TRANSFERS
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task_set import QueuedTask, TaskSet
from iscsitools.wire.scsi import Attribute

A, B = Nexus("a", "a,i,0x00"), Nexus("b", "b,i,0x00")


def command(**what):
    return SimpleNamespace(**{"reads": False, "writes": False, "exclusive": False, "essential": False} | what)


class Piece(QueuedTask):
    """A task that is at work from its start on, until the test ends it."""

    def __init__(self, tasks, nexus=A, attribute=Attribute.SIMPLE, lba=0, blocks=0, **what):
        super().__init__(nexus, attribute)
        self.tasks, self.command, self.lba, self.blocks = tasks, command(**what), lba, blocks
        self.ended = 0
        tasks.enter(self)

    def start(self):
        self.tasks.is_at_work(self)

    def end_without_status(self):
        self.ended += 1


def started(task):
    task.tasks.data_is_there(task)
    return task.started


@pytest.mark.parametrize(("first", "second", "together"), [(0, 8, True), (8, 0, True), (0, 7, False), (7, 0, False)])
def test_ranges_that_only_touch_do_not_exclude_each_other(first, second, together):
    tasks = TaskSet(8, lambda: None)
    assert started(Piece(tasks, lba=first, blocks=8, writes=True))
    assert started(Piece(tasks, B, lba=second, blocks=8, writes=True)) is together


def test_without_blocks_a_task_waits_for_an_exclusive_one_and_for_nothing_else():
    tasks = TaskSet(8, lambda: None)
    assert started(Piece(tasks, blocks=8, writes=True))
    assert started(Piece(tasks, B))
    tasks = TaskSet(8, lambda: None)
    format_unit = Piece(tasks, exclusive=True, writes=True)
    tasks.barriers = 0  # nobody is kept off by the order: only by what is at work
    assert started(format_unit)
    assert not started(Piece(tasks, B, Attribute.HEAD_OF_QUEUE))


def test_what_is_aborted_already_is_not_aborted_again():
    tasks = TaskSet(8, lambda: None)
    task = Piece(tasks)
    assert (tasks.abort([task]), tasks.abort([task]), task.ended) == ([task], [], 1)


def test_who_watches_is_told_of_the_first_barrier_and_of_the_end_of_the_last():
    told = []
    tasks = TaskSet(8, lambda: told.append(tasks.barriers))
    first, second = (Piece(tasks, attribute=Attribute.ORDERED) for _ in range(2))
    assert told == [1]
    tasks.leave(first)
    tasks.leave(second)
    assert told == [1, 0]


def test_a_transfer_of_the_data_path_has_a_place_too():
    tasks = TaskSet(2, lambda: None)
    own = Piece(tasks)
    assert tasks.has_room(A, command())
    tasks.words[TRANSFERS] = 1
    assert not tasks.has_room(A, command())
    tasks.leave(own)
    assert tasks.has_room(A, command())


@pytest.mark.parametrize(("depth", "own"), [(1, 1), (15, 1), (30, 1), (31, 1), (32, 2), (47, 2)])
def test_a_sixteenth_of_the_places_is_each_nexuss_own_and_one_at_least(depth, own):
    tasks = TaskSet(depth, lambda: None)
    for _ in range(depth):
        Piece(tasks)
    for _ in range(own):
        assert tasks.has_room(B, command())
        Piece(tasks, B)
    assert not tasks.has_room(B, command())
    for _ in range(own):
        assert tasks.has_room(B, command(essential=True))
        Piece(tasks, B, essential=True)
    assert not tasks.has_room(B, command(essential=True))
