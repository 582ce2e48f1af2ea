"""A logical unit's task set: how many tasks, and in which order they run (SAM-5 8).

The order, in one place:

- HEAD OF QUEUE: at once.
- ORDERED, and commands that must run alone: when every task accepted before has ended.
- SIMPLE: when every ORDERED, HEAD OF QUEUE or exclusive task accepted before has ended.
- A task that is exclusive and HEAD OF QUEUE waits as an ORDERED one does: running alone matters more.

A task that was aborted while a thread works for it stays here until the thread returns, so that its place is not given
away before it is free. If it writes, no task that uses blocks starts before that: its write may still reach the
medium, and must not fall into the middle of an exclusive command, nor replace what was written after the abort.
"""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.scsi.core.command import Call
from iscsitools.wire.scsi import Attribute


class TaskSet:
    """Tasks in the order of acceptance.

    ``start`` begins a task's execution; ``changed`` is called when the first barrier enters or the last one leaves.
    """

    __slots__ = ("_calls", "_changed", "_fences", "_pumping", "_start", "barriers", "depth")

    def __init__(self, depth: int, start: Callable[[Call], None], changed: Callable[[], None]) -> None:
        self.depth = depth
        self.barriers = 0
        self._fences = 0
        self._calls: dict[Call, None] = {}
        self._start = start
        self._changed = changed
        self._pumping = False

    @property
    def calls(self) -> list[Call]:
        """The tasks, oldest first; a copy."""
        return list(self._calls)

    @property
    def full(self) -> bool:
        """Whether another task gets TASK SET FULL."""
        return len(self._calls) >= self.depth

    def enter(self, call: Call) -> None:
        """Accept a task."""
        attribute = call.task.attribute
        call.alone = attribute == Attribute.ORDERED or call.command.exclusive
        call.barrier = call.alone or attribute == Attribute.HEAD_OF_QUEUE
        self._calls[call] = None
        if call.barrier:
            self._add_barrier()

    def _add_barrier(self) -> None:
        self.barriers += 1
        if self.barriers == 1:
            self._changed()

    def fence(self, call: Call) -> None:
        """Let nothing use blocks before the thread that writes for this task, now aborted, has returned."""
        call.fence = True
        self._fences += 1
        self._add_barrier()

    def ready(self, call: Call) -> None:
        """The task has its data-out: start it now, or as soon as the tasks before it allow."""
        call.ready = True
        if self.barriers:
            self._pump()
        else:
            call.started = True
            self._start(call)

    def leave(self, call: Call) -> None:
        """A task has ended; those that waited for it start."""
        if call not in self._calls:
            return
        del self._calls[call]
        if not self.barriers:
            return
        if call.barrier or call.fence:
            self.barriers -= call.barrier + call.fence
            self._fences -= call.fence
            if not self.barriers:
                self._changed()
        self._pump()

    def _pump(self) -> None:
        """Start what may start, until nothing more may. A task that ends at once calls back here: no recursion."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while (call := self._next()) is not None:
                call.started = call.waited = True
                self._start(call)
        finally:
            self._pumping = False

    def _next(self) -> Call | None:
        oldest = True
        blocked = False
        for call in self._calls:
            allowed = (oldest or not call.alone) if call.barrier else not blocked
            held_back = self._fences and call.uses_blocks
            if allowed and call.ready and not call.started and not call.task.aborted and not held_back:
                return call
            oldest = False
            blocked = blocked or call.barrier
        return None
