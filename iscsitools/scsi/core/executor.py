"""What runs the medium work of tasks: threads where a backstore may block, else turns of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from iscsitools.backstores.base import Backstore, Request

PIECE: Final = 1 << 20
"""Bytes that one step of work on blocks takes at most: less than a millisecond in memory."""
Steps = Iterator[Request]
"""Medium work in steps: what is asked of the backstore, one request after the other. It never blocks by itself."""
Withdraw = Callable[[], bool]
"""Takes submitted work back; False when a thread has begun it."""


class CallExecutor(Protocol):
    """Runs calls that may block."""

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Run ``work`` in a thread, then ``done`` on the loop's thread with what ``work`` raised, or None.

        Returns at once. Calls of one executor may run at once and end in any order. After work was withdrawn the
        executor refers to neither of the two.
        """


class Executor(CallExecutor, Protocol):
    """Runs all work of one logical unit: calls that may block in threads, of which a unit has a bounded number."""

    def resume(self, step: Callable[[], None]) -> None:
        """Call ``step`` on the loop's thread, after all others that have something to do had their turn.

        In each turn no more than one step of this executor is called.
        """

    def listen(self, store: Backstore) -> None:
        """See to completions of this store that nobody has asked for by :meth:`ask`: a data path may begin calls."""

    def expect(self, request: Request, done: Callable[[BaseException | None], None]) -> None:
        """A call is under way already, which a data path began: call ``done`` as for one of :meth:`ask`."""

    def ask(self, store: Backstore, request: Request, done: Callable[[BaseException | None], None]) -> Withdraw:
        """Submit an asynchronous call to its store, then call ``done`` on the loop's thread with its error, or None.

        Returns at once, and ``done`` is called later. After it was withdrawn the executor refers to neither of them.
        """


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Work for other threads than the unit's, which may all be in calls that do not return."""

    executor: CallExecutor
    call: Callable[[], None]
    withdrawable: bool = False
    """An abort of the task takes it back, if nobody has begun it."""


class Then:
    """An executor that does something on the loop's thread when the call has succeeded, before it reports that.

    So what a command changes is true when its work is done, and not at all when that fails.
    """

    def __init__(self, executor: CallExecutor, then: Callable[[], None]) -> None:
        self._executor = executor
        self._then = then

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Have the call made."""

        def finished(error: BaseException | None) -> None:
            if error is None:
                self._then()
            done(error)

        return self._executor.submit(work, finished)


Work = Callable[[], object] | Request | Steps | Elsewhere
"""Medium work: touches the backstore and the task's buffers only.

A callable may block, and what it returns does not count. Requests, one or several, are done as the backstore can: by
asynchronous calls, by blocking ones in a thread, or on the loop.
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

    def listen(self, store: Backstore) -> None:
        """Nobody begins calls beside it."""

    def expect(self, request: Request, done: Callable[[BaseException | None], None]) -> None:
        """``done`` is called when the store completes it."""
        request.begin(lambda _, error: done(error))

    def ask(self, store: Backstore, request: Request, done: Callable[[BaseException | None], None]) -> Withdraw:
        """Submit it; ``done`` is called when the store completes it."""
        request.begin(lambda _, error: done(error))
        try:
            store.submit(request)
        except Exception as error:
            request.complete(error)
        return lambda: store.cancel(request)


def _begun() -> bool:
    return False
