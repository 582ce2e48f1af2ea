"""SANITIZE (SBC-3 5.24, 4.11): all that the medium holds is made unreadable, also what no LBA names any more.

Once begun it goes on through resets and the loss of every nexus. Where there is a place, what is to be done is kept
there before the first block changes, and forgotten when all is done, both durably: a server that ends or dies goes on
with it at the next start, before anybody can read a block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from iscsitools.scsi.core.background import Background
from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import check_condition, illegal_request, invalid_field, invalid_parameter
from iscsitools.scsi.core.executor import Elsewhere, Steps, Then, Withdraw, Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.scsi.sbc.medium import Medium
from iscsitools.scsi.sbc.progress import in_progress, watched
from iscsitools.scsi.sbc.sanitize_job import BLOCK_ERASE, CRYPTO_ERASE, OVERWRITE, SanitizeJob
from iscsitools.wire.sense import Asc, SenseKey

_SANITIZE = 0x48
_IMMED, _AUSE = 0x80, 0x20
_INVERT, _TEST, _COUNT = 0x80, 0x60, 0x1F
_HEADER = 4


class Sanitation(Part):
    """A sanitize operation. ``failed``: it could not be completed; ``may_leave``: EXIT FAILURE MODE helps then."""

    kept: ClassVar[str] = "sanitize"

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self.running = self.failed = self.may_leave = False
        self._before = (False, False)
        """``failed`` and ``may_leave`` as they were before the operation that is about to begin."""
        self._unfinished: SanitizeJob | None = None

    def begin(self, task: Task, job: SanitizeJob) -> Work | None:
        """Begin; the status waits for the end unless IMMED is set, but always until it is kept what is to be done."""
        immediate = bool(task.cdb[1] & _IMMED)
        self._run(job)
        if not self._keeps:
            work = self.work(job)
            work.begin()
            return None if immediate else Elsewhere(work, _nothing, withdrawable=True)
        keep = self.keeping(job.to_text(self.unit))
        return Elsewhere(_Beginning(self, job, immediate), keep, withdrawable=True)

    def _run(self, job: SanitizeJob) -> None:
        self._before = self.failed, self.may_leave
        self.running, self.failed, self.may_leave = True, False, job.may_leave
        self.unit.not_ready, self.unit.occupied = in_progress(Asc.SANITIZE_IN_PROGRESS), True
        self.unit.refresh()

    @property
    def _keeps(self) -> bool:
        """Whether the disk outlives the server (one that never blocks does not), and there is a place."""
        return self.place is not None and self.unit.store.blocking

    def work(self, job: SanitizeJob) -> Background:
        """The operation; at its end, in the unit's thread, what is kept of it is forgotten."""
        unit = self.unit
        command = unit.commands.get(_SANITIZE, job.action)
        assert command is not None
        forget = self.keeping("") if self._keeps else _nothing

        def steps() -> Steps:
            yield from watched(unit, Asc.SANITIZE_IN_PROGRESS, job.total(unit), job.steps(unit))
            forget()

        return Background(unit, command, steps(), self._ended)

    def _ended(self, error: BaseException | None) -> None:
        self._stop(failed=error is not None)

    def _stop(self, failed: bool) -> None:
        self.running, self.failed = False, failed
        self.unit.not_ready, self.unit.occupied = None, False
        if self.failed:
            self.unit.not_ready = check_condition(SenseKey.MEDIUM_ERROR, Asc.SANITIZE_FAILED)
        self.unit.refresh()

    def not_begun(self) -> None:
        """It could not be kept, and no block has changed: a unit that has failed before stays as that left it."""
        failed, self.may_leave = self._before
        self._stop(failed)

    # Over a restart

    def take_kept(self, text: str) -> None:
        """Go on with an operation that the server before did not complete: no block can be read before that is done."""
        self._unfinished = SanitizeJob.from_text(text, self.unit)
        self._run(self._unfinished)

    def served(self) -> None:
        """Begin with it anew."""
        job, self._unfinished = self._unfinished, None
        if job is not None:
            self.work(job).begin()

    def state(self) -> Any:
        """Whether it failed, and may be left so; nobody takes over while it runs."""
        return [self.failed, self.may_leave]

    def take_state(self, state: Any) -> None:
        """Stay failed, as in the process before: what is kept is for the next start."""
        failed, may_leave = map(bool, state)
        if failed:
            self._unfinished = None
            self.may_leave = may_leave
            self._ended(OSError("it failed in the process before"))

    def leave_failure(self) -> Work | None:
        """The unit can be used again, whatever it holds, once no start will go on with the operation."""
        if self.place is None or not self._keeps:
            self._ended(None)
            return None
        return Elsewhere(Then(self.place.executor, partial(self._ended, None)), self.keeping(""))


class _Beginning:
    """Begins an operation once it is kept what is to be done; reports that, or the end."""

    def __init__(self, state: Sanitation, job: SanitizeJob, immediate: bool) -> None:
        self._state = state
        self._job = job
        self._immediate = immediate
        self._report: Callable[[BaseException | None], None] | None = None

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Keep it by ``work``, begin; then call ``done``. A task that ends before does not end the operation."""
        assert self._state.place is not None
        self._report = done
        self._state.place.executor.submit(work, self._kept)
        return self._forget

    def _forget(self) -> bool:
        self._report = None
        return True

    def _kept(self, error: BaseException | None) -> None:
        if error is not None:
            self._state.not_begun()
            self._tell(error)
            return
        background = self._state.work(self._job)
        background.begin()
        if self._immediate:
            self._tell(None)
        else:
            background.submit(_nothing, self._tell)

    def _tell(self, error: BaseException | None) -> None:
        if self._report is not None:
            self._report(error)


def _nothing() -> None:
    """The work is done by the background operation."""


def _check(task: Task) -> None:
    """No sanitize operation is under way, and the medium is there and is not being formatted."""
    unit = task.unit
    if unit.not_ready is not None and not Sanitation.of(unit).failed:
        raise unit.not_ready
    if not Medium.of(unit).loaded:
        raise check_condition(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)


def check_erase(task: Task) -> None:
    """BLOCK ERASE and CRYPTOGRAPHIC ERASE: no parameter list."""
    _check(task)
    if u16(task.cdb, 7):
        raise invalid_field(7, 7)


def block_erase(task: Task) -> Work | None:
    """BLOCK ERASE: the backstore gives the blocks back, and they read as zeros."""
    return Sanitation.of(task.unit).begin(task, SanitizeJob(BLOCK_ERASE, bool(task.cdb[1] & _AUSE)))


def crypto_erase(task: Task) -> Work | None:
    """CRYPTOGRAPHIC ERASE: the backstore, which encrypts, changes its key."""
    return Sanitation.of(task.unit).begin(task, SanitizeJob(CRYPTO_ERASE, bool(task.cdb[1] & _AUSE)))


def check_overwrite(task: Task) -> None:
    """OVERWRITE: a parameter list of the header and a pattern of at most one block."""
    _check(task)
    length = u16(task.cdb, 7)
    if not _HEADER < length <= _HEADER + task.unit.block_size:
        raise invalid_field(7, 7)
    task.take(length)


def overwrite(task: Task) -> Work | None:
    """OVERWRITE: the pattern, over all blocks, as often as asked for, with INVERT inverted each time."""
    data = task.parameters()
    count, length = data[0] & _COUNT, u16(data, 2)
    if data[0] & _TEST:
        raise invalid_parameter(0, 6)
    if not count:
        raise invalid_parameter(0, 4)
    if length != len(data) - _HEADER:
        raise invalid_parameter(2, 7)
    job = SanitizeJob(
        OVERWRITE, bool(task.cdb[1] & _AUSE), bytes(data[_HEADER:]), count, bool(data[0] & _INVERT)
    )  # fmt: skip
    return Sanitation.of(task.unit).begin(task, job)


def check_exit(task: Task) -> None:
    """EXIT FAILURE MODE: no parameter list; only after a failure, and if the operation allowed it by AUSE."""
    _check(task)
    if u16(task.cdb, 7):
        raise invalid_field(7, 7)
    state = Sanitation.of(task.unit)
    if state.failed and not state.may_leave:
        raise illegal_request(Asc.INVALID_FIELD_IN_CDB)


def exit_failure_mode(task: Task) -> Work | None:
    """EXIT FAILURE MODE."""
    state = Sanitation.of(task.unit)
    return state.leave_failure() if state.failed else None
