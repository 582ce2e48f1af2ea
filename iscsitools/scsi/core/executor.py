"""What runs the medium work of tasks: threads where a backstore may block, else turns of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

PIECE: Final = 1 << 20
"""Bytes that one step of work on blocks takes at most: less than a millisecond in memory."""
Steps = Iterator[None]
"""Medium work in steps: what comes to an end at each ``yield``."""
Withdraw = Callable[[], bool]
"""Takes submitted work back; False when a thread has begun it."""


class Executor(Protocol):
    """Runs calls that may block, in threads of which one logical unit has a bounded number."""

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Run ``work`` in a thread, then ``done`` on the loop's thread with what ``work`` raised, or None.

        Returns at once. Calls of one executor may run at once and end in any order. After work was withdrawn the
        executor refers to neither of the two.
        """

    def resume(self, step: Callable[[], None]) -> None:
        """Call ``step`` on the loop's thread, after all others that have something to do had their turn.

        In each turn no more than one step of this executor is called.
        """


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Work for other threads than the unit's, which may all be in calls that do not return."""

    executor: Executor
    call: Callable[[], None]
    withdrawable: bool = False
    """An abort of the task takes it back, if nobody has begun it."""


Work = Callable[[], object] | Steps | Elsewhere
"""Medium work: may block, touches the backstore and the task's buffers only.

What a call returns does not count, for it is mostly a backstore's method, which may return anything.
"""


class InlineExecutor:
    """Runs each call at once where it was submitted: for tests, and for backstores that do not block."""

    def __init__(self) -> None:
        self._steps: deque[Callable[[], None]] = deque()
        self._stepping = False

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Run ``work`` now."""
        try:
            work()
        except Exception as error:
            done(error)
        else:
            done(None)
        return _begun

    def resume(self, step: Callable[[], None]) -> None:
        """Call ``step`` now, or after the step that is under way."""
        self._steps.append(step)
        if not self._stepping:
            self._stepping = True
            while self._steps:
                self._steps.popleft()()
            self._stepping = False


def _begun() -> bool:
    return False
