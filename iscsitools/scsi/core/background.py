"""Work on a whole medium that goes on after its command was answered, and through resets: it is nobody's task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from iscsitools.backstores.base import Request
from iscsitools.scsi.core.command import Command
from iscsitools.scsi.core.executor import Steps, Withdraw
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task_set import QueuedTask
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.scsi import Attribute

_NOBODY = Nexus("", "")


class _StoppedError(Exception):
    """The unit goes, or the server: the work ends at this step."""


class Background(QueuedTask):
    """One such piece of work, which has all blocks for itself. ``ended`` is called with what the work raised, or None.

    It ends at its next step, and ``ended`` is not called, when the unit is removed or the server ends.

    It is an executor of a kind too: what is submitted to it is reported when it ends.
    """

    abortable = False
    __slots__ = ("_ended", "_reports", "_steps", "_unit")

    def __init__(
        self, unit: LogicalUnit, command: Command, steps: Steps, ended: Callable[[BaseException | None], None]
    ) -> None:
        super().__init__(_NOBODY, Attribute.SIMPLE)
        self.command = command
        self.lba, self.blocks = 0, unit.blocks
        self._unit = unit
        self._steps = steps
        self._ended = ended
        self._reports: list[Callable[[BaseException | None], None]] = []

    def begin(self) -> None:
        """Begin as soon as nothing else works on the medium."""
        self._unit.tasks.enter(self)
        self._unit.tasks.data_is_there(self)

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Call ``done`` at the end."""
        self._reports.append(done)
        return partial(self._forget, done)

    def _forget(self, done: Callable[[BaseException | None], None]) -> bool:
        if done not in self._reports:
            return False
        self._reports.remove(done)
        return True

    def start(self) -> None:
        """It is its turn."""
        self._unit.tasks.is_at_work(self)
        if self._unit.store.blocking:
            self._unit.executor.submit(self._do_all, self._finish)
        else:
            self._unit.executor.resume(self._step)

    def _do_all(self) -> None:
        for request in self._steps:
            if self._unit.stops:
                raise _StoppedError
            request.perform(self._unit.store)

    def _step(self, begun: Request | None = None) -> None:
        """One step, ``begun`` or the first; that it is done is known before the others have their turn."""
        try:
            request = begun or next(self._steps, None)
            if self._unit.stops:
                raise _StoppedError
            if request is not None:
                request.perform(self._unit.store)
                request = next(self._steps, None)
        except BaseException as error:
            self._finish(error)
            return
        if request is None:
            self._finish(None)
        else:
            self._unit.executor.resume(partial(self._step, request))

    def _finish(self, error: BaseException | None) -> None:
        if isinstance(error, _StoppedError):  # it has neither succeeded nor failed, and the unit is nobody's any more
            self._unit.tasks.leave(self)
            return
        if error is not None:
            self._unit.failed(self, error)
        self._ended(error)
        self._unit.tasks.leave(self)
        for report in self._reports:
            report(error)
