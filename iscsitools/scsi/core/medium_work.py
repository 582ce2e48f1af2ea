"""What a task does with the medium: by asynchronous calls, in a thread, or here, whole or step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from iscsitools.backstores.base import MiscompareError, Operation, Request
from iscsitools.backstores.caller import call_for
from iscsitools.scsi.core.cdb import Buffer
from iscsitools.scsi.core.errors import ScsiError, miscompare
from iscsitools.scsi.core.executor import Steps
from iscsitools.scsi.core.task_set import QueuedTask
from iscsitools.scsi.core.unit import LogicalUnit


class WorkingTask(QueuedTask):
    """A task as its work goes on; ``_worked`` is the end of all of it."""

    __slots__ = ("data_in", "result", "unit", "withdraw")
    unit: LogicalUnit

    data_in: Buffer
    result: Buffer | None
    """Data-in that the medium work made; None: what ``run`` has set stands."""
    withdraw: Callable[[], bool]
    """Takes the medium work back; False when there is none that could be."""

    def _hand_over(self, work: Callable[[], object] | Request | Steps) -> None:
        """Have the work done by a store that blocks: by itself, as far as it takes calls, else in a thread."""
        unit = self.unit
        unit.tasks.is_at_work(self)
        taken = unit.store.asynchronous
        if not taken or callable(work):
            self.withdraw = unit.executor.submit(partial(self._work, work), self._worked)
        elif not isinstance(work, Request):
            self._advance(work)
        elif work.operation in taken or work.operation is not Operation.COMPARE_AND_WRITE:
            self._ask(work, self._worked)
        else:
            self._advance(work.steps())

    def _work(self, work: Callable[[], object] | Request | Steps) -> None:
        """Do all of the work, in a thread; what is aborted ends at the next step."""
        call_for(self.nexus.initiator, partial(self._do, work))

    def _do(self, work: Callable[[], object] | Request | Steps) -> None:
        store = self.unit.store
        if isinstance(work, Iterator):
            for request in work:
                if self.aborted:
                    return
                request.perform(store)
        elif isinstance(work, Request):
            work.perform(store)
        else:
            work()

    def _ask(self, request: Request, done: Callable[[BaseException | None], None]) -> None:
        """Have the store do it asynchronously, or in a thread what it does not take so."""
        unit = self.unit
        if request.operation in unit.store.asynchronous:
            self.withdraw = unit.executor.ask(unit.store, request, done)
        else:
            self.withdraw = unit.executor.submit(partial(self._work, request), done)

    def _advance(self, steps: Steps, error: BaseException | None = None) -> None:
        """Ask for the next step of asynchronous work, or end it."""
        request = None
        if error is None and not self.aborted:
            try:
                request = next(steps, None)
            except BaseException as raised:
                error = raised
        if request is None:
            self._worked(error)
        else:
            self._ask(request, partial(self._advance, steps))

    def _call(self, work: Callable[[], object] | Request) -> None:
        """Do the work here and now."""
        error: BaseException | None = None
        try:
            self._do(work)
        except BaseException as raised:
            error = raised
        self._worked(error)

    def _step(self, steps: Steps, begun: Request | None = None) -> None:
        """Do one step of the work here, ``begun`` or the first; others get their turn before the next one."""
        unit = self.unit
        error: BaseException | None = None
        try:
            request = begun or next(steps, None)
            if request is not None and not self.aborted:
                request.perform(unit.store)
                request = next(steps, None)
                if request is not None:
                    if not self.at_work:
                        unit.tasks.is_at_work(self)
                    unit.executor.resume(partial(self._step, steps, request))
                    return
        except BaseException as raised:
            error = raised
        self._worked(error)

    def _worked(self, error: BaseException | None) -> None:
        """The medium work has ended."""
        self.withdraw = nothing_to_withdraw  # else task and call hold each other, and the buffers
        if error is None:
            if self.result is not None:
                self.data_in = self.result
            self._end()
        elif isinstance(error, ScsiError):
            self._end(error)
        elif isinstance(error, MiscompareError):
            self._end(miscompare(error.index))
        else:
            self._end(self.unit.answer(self, error))

    def _end(self, error: ScsiError | None = None) -> None:
        """The status is known."""
        raise NotImplementedError  # abstract


def nothing_to_withdraw() -> bool:
    """There is no work that could be taken back."""
    return False
