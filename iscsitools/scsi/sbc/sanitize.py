"""SANITIZE (SBC-3 5.24, 4.11): all that the medium holds is made unreadable, also what no LBA names any more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from iscsitools.backstores.asynchronous import Operation, Request, flush_request, write_request
from iscsitools.scsi.core.background import Background
from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import (
    ScsiError,
    check_condition,
    illegal_request,
    invalid_field,
    invalid_parameter,
)
from iscsitools.scsi.core.executor import Elsewhere, Steps, Work
from iscsitools.scsi.core.sense import Progress, fixed_sense
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.scsi.sbc.medium import Medium
from iscsitools.scsi.sbc.pieces import in_pieces
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc, SenseKey

_IMMED, _AUSE = 0x80, 0x20
_INVERT, _TEST, _COUNT = 0x80, 0x60, 0x1F
_HEADER = 4
_STEP: Final = 1 << 20


class Sanitation(Part):
    """A sanitize operation. ``failed``: it could not be completed; ``may_leave``: EXIT FAILURE MODE helps then."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self.running = self.failed = self.may_leave = False

    def begin(self, task: Task, passes: int, steps: Callable[[Callable[[], None]], Steps]) -> Work | None:
        """Begin; the status waits for the end unless IMMED is set. ``steps``: the work, which tells of each step."""
        unit = self.unit
        total, done = max(1, -(-unit.blocks * unit.block_size // _STEP)) * passes, 0

        def tell() -> None:
            nonlocal done
            done += 1
            unit.not_ready = _in_progress(min(done * 65536 // total, 65535))

        self.running, self.failed, self.may_leave = True, False, bool(task.cdb[1] & _AUSE)
        unit.not_ready = _in_progress(0)
        unit.refresh()
        work = Background(unit, task.command, steps(tell), self._ended)
        work.begin()
        return None if task.cdb[1] & _IMMED else Elsewhere(work, _nothing, withdrawable=True)

    def _ended(self, error: BaseException | None) -> None:
        self.running, self.failed = False, error is not None
        self.unit.not_ready = None
        if self.failed:
            self.unit.not_ready = check_condition(SenseKey.MEDIUM_ERROR, Asc.SANITIZE_FAILED)
        self.unit.refresh()

    def state(self) -> Any:
        """Whether it failed, and may be left so; nobody takes over while it runs."""
        return [self.failed, self.may_leave]

    def take_state(self, state: Any) -> None:
        """Stay failed."""
        self.failed, self.may_leave = map(bool, state)
        if self.failed:
            self._ended(OSError("it failed in the process before"))

    def leave_failure(self) -> None:
        """The unit can be used again, whatever it holds."""
        self.failed = False
        self.unit.not_ready = None
        self.unit.refresh()


def _nothing() -> None:
    """The work is done by the background operation."""


def _in_progress(numerator: int) -> ScsiError:
    sense = fixed_sense(SenseKey.NOT_READY, Asc.SANITIZE_IN_PROGRESS, pointer=Progress(numerator))
    return ScsiError(Status.CHECK_CONDITION, sense)


def _check(task: Task) -> None:
    """No sanitize operation is under way, and the medium is there."""
    unit = task.unit
    if Sanitation.of(unit).running or not Medium.of(unit).loaded:
        assert unit.not_ready is not None
        raise unit.not_ready


def check_erase(task: Task) -> None:
    """BLOCK ERASE: no parameter list."""
    _check(task)
    if u16(task.cdb, 7):
        raise invalid_field(7, 7)


def block_erase(task: Task) -> Work | None:
    """BLOCK ERASE: the backstore gives the blocks back, and they read as zeros."""
    unit = task.unit
    size = unit.blocks * unit.block_size

    def erase(tell: Callable[[], None]) -> Steps:
        for request in in_pieces(partial(Request, Operation.DISCARD), 0, size):
            yield request
            tell()
        yield flush_request()

    return Sanitation.of(unit).begin(task, 1, erase)


def check_overwrite(task: Task) -> None:
    """OVERWRITE: a parameter list of the header and a pattern of at most one block."""
    _check(task)
    length = u16(task.cdb, 7)
    if not _HEADER < length <= _HEADER + task.unit.block_size:
        raise invalid_field(7, 7)
    task.take(length)


def overwrite(task: Task) -> Work | None:
    """OVERWRITE: the pattern, over all blocks, as often as asked for, with INVERT inverted each time."""
    unit, data = task.unit, task.parameters()
    count, length = data[0] & _COUNT, u16(data, 2)
    if data[0] & _TEST:
        raise invalid_parameter(0, 6)
    if not count:
        raise invalid_parameter(0, 4)
    if length != len(data) - _HEADER:
        raise invalid_parameter(2, 7)
    pattern = bytes(data[_HEADER:])
    passes = [pattern]
    for _ in range(count - 1):
        passes.append(bytes(b ^ 0xFF for b in passes[-1]) if data[0] & _INVERT else pattern)
    return Sanitation.of(unit).begin(task, count, partial(_overwrite, unit, passes))


def _overwrite(unit: LogicalUnit, passes: list[bytes], tell: Callable[[], None]) -> Steps:
    for pattern in passes:
        block = (pattern * (unit.block_size // len(pattern) + 1))[: unit.block_size]
        piece = memoryview(block * (_STEP // unit.block_size))

        def write(at: int, n: int, piece: memoryview = piece) -> Request:
            return write_request(at, piece[:n])

        for request in in_pieces(write, 0, unit.blocks * unit.block_size):
            yield request
            tell()
        yield flush_request()


def check_exit(task: Task) -> None:
    """EXIT FAILURE MODE: no parameter list; only after a failure, and if the operation allowed it by AUSE."""
    _check(task)
    if u16(task.cdb, 7):
        raise invalid_field(7, 7)
    state = Sanitation.of(task.unit)
    if state.failed and not state.may_leave:
        raise illegal_request(Asc.INVALID_FIELD_IN_CDB)


def exit_failure_mode(task: Task) -> None:
    """EXIT FAILURE MODE."""
    state = Sanitation.of(task.unit)
    if state.failed:
        state.leave_failure()
