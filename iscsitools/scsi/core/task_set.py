"""A logical unit's task set: how many tasks there may be, and in which order they run (SAM-5 8).

How many: one nexus may fill the set. Each nexus has a few places of its own all the same, and as many again for
essential commands (``Flags.ESSENTIAL``): who has nothing in the set always finds room, and a busy node can be fenced.

The order, in one place. A task is *in order* when it has its data-out and nothing of its own nexus that it has to wait
for lacks it. Until then it is not enabled, and no task of another nexus waits for it: an initiator that never sends its
data stops only itself. Of two tasks the one that came in order first is the earlier one.

- HEAD OF QUEUE: at once.
- ORDERED, and commands that must run alone: when every earlier task has ended.
- SIMPLE: when every earlier ORDERED, HEAD OF QUEUE or exclusive task has ended.
- A task that is exclusive and HEAD OF QUEUE waits as an ORDERED one does: running alone matters more.
- A range of a larger piece of work (``QueuedTask.unordered``): at once too, and nobody waits for it but for its blocks
  and, where it is earlier, to run alone. What it is a part of may be a task that an ORDERED one already waits for.
- Any: when nothing is at work, or was to go first, on blocks that it shares with it, unless both only read; and while
  no exclusive task is at work.

A task *is at work* while a thread or later turns of the loop do its medium work. One that was aborted meanwhile stays
here until that ends: its place is not given away before it is free, and what it may still write to its blocks neither
falls into the middle of another command nor replaces what was written after the abort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from iscsitools.scsi.core.command import Command
from iscsitools.scsi.core.gate import DEPTH, FLIGHTS, TASKS, TRANSFERS, unit_words
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.wire.scsi import Attribute


class QueuedTask:
    """What a task set knows of a task. ``lba`` and ``blocks``: the range that it works on, for error reports too."""

    __slots__ = (
        "aborted", "alone", "at_work", "attribute", "barrier", "blocks", "command", "has_data", "lba", "nexus",
        "started",
    )  # fmt: skip
    command: Command
    abortable: ClassVar[bool] = True
    """Task management functions end it."""
    unordered: ClassVar[bool] = False
    """It waits for its blocks, and for nothing else."""

    def __init__(self, nexus: Nexus, attribute: int) -> None:
        self.nexus = nexus
        self.attribute = attribute
        self.lba = self.blocks = 0
        self.alone = self.barrier = False
        self.has_data = self.started = self.at_work = False
        self.aborted = False
        """A task management function or a lost nexus ended it; a late result is thrown away."""

    def start(self) -> None:
        """Begin: it is this task's turn."""
        raise NotImplementedError  # abstract

    def end_without_status(self) -> None:
        """It was aborted: give back what it holds, now or when its work has returned, and leave."""
        raise NotImplementedError  # abstract

    def dropped(self) -> None:
        """For the transport: something other than its own task management function ended the task without status."""
        raise NotImplementedError  # abstract

    def overlaps(self, other: QueuedTask) -> bool:
        """Whether the two must not work at the same time: blocks of both, which one of them changes."""
        return (
            (self.command.writes or (other.command.writes and self.command.reads))
            and (other.command.reads or other.command.writes)
            and self.lba < other.lba + other.blocks
            and other.lba < self.lba + self.blocks
        )


class TaskSet:
    """The tasks of a unit.

    ``gather`` is called before somebody looks at the tasks: what a data path has begun enters now. With True it also
    has data threads begin nothing more until the loop's next turn.
    ``changed`` is called when one of ``barriers``, ``reading`` or ``writing`` becomes 0 or stops being 0. The latter
    count the tasks at work that read or write blocks.
    """

    __slots__ = ("_at_work", "_changed", "_gather", "_in_order", "_pumping", "_tasks", "_waiting", "barriers",
                 "reading", "words", "writing")  # fmt: skip

    def __init__(
        self, depth: int, changed: Callable[[], None], gather: Callable[[bool], None] = lambda everybody: None
    ) -> None:
        self.words = unit_words(depth)
        self.barriers = self.reading = self.writing = 0
        self._tasks: dict[QueuedTask, None] = {}
        self._in_order: dict[QueuedTask, None] = {}
        self._at_work: dict[QueuedTask, None] = {}
        self._waiting = 0
        self._changed = changed
        self._gather = gather
        self._pumping = False

    def __iter__(self) -> Iterator[QueuedTask]:
        """The tasks, oldest first; they may leave meanwhile."""
        self._gather(False)
        return iter(list(self._tasks))

    def all(self) -> Iterator[QueuedTask]:
        """The same for who ends those of others: no data thread begins another before the loop's next turn."""
        self._gather(True)
        return iter(list(self._tasks))

    @property
    def depth(self) -> int:
        """How many tasks are accepted, whosever they are."""
        return self.words[DEPTH]

    @property
    def at_work(self) -> int:
        """How many tasks are at work."""
        return len(self._at_work)

    def __len__(self) -> int:
        return len(self._tasks)

    def has_room(self, nexus: Nexus, command: Command) -> bool:
        """Whether another task is accepted; else TASK SET FULL, for then the nexus has tasks in the set (SAM-5 5.3.1).

        Its own places are a sixteenth of the depth, at least one.
        """
        if self.words[TASKS] + self.words[TRANSFERS] < self.words[DEPTH]:
            return True
        self._gather(False)
        own_places = max(1, self.depth // 16)
        own = [task for task in self._tasks if task.nexus is nexus]
        if len(own) < own_places:
            return True
        return command.essential and sum(task.command.essential for task in own) < own_places

    def enter(self, task: QueuedTask) -> None:
        """Accept a task, of which ``command`` is known."""
        task.alone = task.attribute == Attribute.ORDERED or task.command.exclusive
        task.barrier = task.alone or task.attribute == Attribute.HEAD_OF_QUEUE
        if task.barrier and self.words[FLIGHTS]:
            self._gather(False)  # they came before it; from now on the gates let no others begin
        self._tasks[task] = None
        self.words[TASKS] += 1
        if task.barrier:
            self.barriers += 1
            if self.barriers == 1:
                self._changed()

    def data_is_there(self, task: QueuedTask) -> None:
        """The task has its data-out: start it now, or as soon as the order allows."""
        task.has_data = True
        if self.words[FLIGHTS] and (task.blocks or task.command.exclusive):
            self._gather(False)  # it may be kept off by them
        if not self.barriers and not self._waiting and not self._is_kept_off(task, ()):
            self._in_order[task] = None
            task.started = True
            task.start()
        else:
            self._bring_in_order(task.nexus)
            self._pump()

    def is_under_way(self, task: QueuedTask) -> None:
        """A task that was accepted has been at work already, in a data path."""
        task.has_data = task.started = True
        self._in_order[task] = None
        self.is_at_work(task)

    def is_at_work(self, task: QueuedTask) -> None:
        """The task's medium work goes on in a thread, or in later turns of the loop."""
        task.at_work = True
        self._at_work[task] = None
        if task.blocks:
            self._count(task, 1)

    def _count(self, task: QueuedTask, by: int) -> None:
        before = (self.reading > 0, self.writing > 0)
        if task.command.writes:
            self.writing += by
        elif task.command.reads:
            self.reading += by
        if before != (self.reading > 0, self.writing > 0):
            self._changed()

    def leave(self, task: QueuedTask) -> None:
        """A task has ended; those that waited for it start."""
        if task not in self._tasks:
            return
        had_barriers = self.barriers
        del self._tasks[task]
        self.words[TASKS] -= 1
        if task in self._in_order:
            del self._in_order[task]
            self._waiting -= not task.started
        if task.at_work:
            del self._at_work[task]
            if task.blocks:
                self._count(task, -1)
        if task.barrier:
            self.barriers -= 1
            if not self.barriers:
                self._changed()
        if had_barriers:
            self._bring_in_order(task.nexus)
        self._pump()

    def abort(self, tasks: Iterable[QueuedTask]) -> list[QueuedTask]:
        """End these tasks without status; returns those that had not been ended before.

        All are marked before the first leaves, so that none of them starts in another's place.
        """
        ended = [task for task in tasks if task.abortable and not task.aborted]
        for task in ended:
            task.aborted = True
        for task in ended:
            task.end_without_status()
        return ended

    def _bring_in_order(self, nexus: Nexus) -> None:
        """Bring in order what may be of a nexus's tasks, oldest first."""
        lacking = lacking_barrier = False
        for task in self._tasks:
            if task.nexus is not nexus or task in self._in_order:
                continue
            at_once = (task.barrier and not task.alone) or task.unordered
            held_up = lacking_barrier or (lacking and task.alone)
            if task.has_data and not task.aborted and (at_once or not held_up):
                self._in_order[task] = None
                self._waiting += 1
            else:
                lacking = True
                lacking_barrier = lacking_barrier or task.barrier

    def _is_kept_off(self, task: QueuedTask, earlier: Iterable[QueuedTask]) -> bool:
        """Whether something is at work, or among ``earlier``, that must not be at the same time."""
        if not task.blocks and not task.command.exclusive:
            return any(other.command.exclusive for other in self._at_work) if self._at_work else False
        if task.command.exclusive and self._at_work:
            return True
        for others in (self._at_work, earlier):
            for other in others:
                if other.command.exclusive or (other.blocks and task.overlaps(other)):
                    return True
        return False

    def _pump(self) -> None:
        """Start what may start, until nothing more may. A task that ends at once calls back here: no recursion."""
        if self._pumping or not self._waiting:
            return
        self._pumping = True
        try:
            while (task := self._next()) is not None:
                self._waiting -= 1
                task.started = True
                task.start()
        finally:
            self._pumping = False

    def _next(self) -> QueuedTask | None:
        if not self._waiting:
            return None
        if self.words[FLIGHTS]:
            self._gather(False)  # those that began since it waits
        oldest, blocked = True, False
        earlier: list[QueuedTask] = []
        for task in self._in_order:
            if not task.started and not task.aborted:
                at_once = (task.barrier and not task.alone) or task.unordered
                may = at_once or (oldest if task.barrier else not blocked)
                if may and not self._is_kept_off(task, () if at_once else earlier):
                    return task
                earlier.append(task)
            oldest = False
            blocked = blocked or task.barrier
        return None
