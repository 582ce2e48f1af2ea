"""Medium work on its way to a thread, which may be taken back until the thread has begun it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iscsitools.scsi.core.command import Call, Work

Report = Callable[["Call", BaseException | None], None]


class Job:
    """One call's work for an executor: give it :meth:`run` and :meth:`done`.

    Who takes the work out of ``_waiting`` has it, the thread or :meth:`withdraw`: that is one operation of the
    interpreter. A job that was withdrawn refers to neither task nor buffers, so that it may wait as long as it likes
    behind calls that never return.
    """

    __slots__ = ("_call", "_report", "_waiting")

    def __init__(self, call: Call, work: Work, report: Report) -> None:
        self._waiting: list[tuple[Call, Work]] = [(call, work)]
        self._call: Call | None = None
        self._report = report

    def run(self) -> None:
        """Do the work, in a thread, unless it was withdrawn."""
        try:
            call, work = self._waiting.pop()
        except IndexError:
            return
        self._call = call
        work()

    def done(self, error: BaseException | None) -> None:
        """Report the end of the work, on the loop's thread."""
        if self._call is not None:
            self._report(self._call, error)

    def withdraw(self) -> bool:
        """Take the work back; False when a thread has begun it."""
        try:
            self._waiting.pop()
        except IndexError:
            return False
        return True
