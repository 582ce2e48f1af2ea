"""Changes of a unit's registrations, one after the other: worked out, kept, and only then true.

A service action works on a copy. Where the registrations outlive a restart, the copy is kept first, durably; when that
fails, the command ends with the error and nothing has changed: neither the registrations, nor what others are told, nor
the tasks of those who would have lost theirs (SPC-4 5.13.5; a command that ends with CHECK CONDITION changes nothing).
What comes meanwhile waits for its turn, and is checked again then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from iscsitools.scsi.core.executor import Elsewhere, Withdraw
from iscsitools.scsi.core.registrations import Port, Registrations
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.wire.sense import Asc


class RegistrationChange:
    """What a service action makes of the registrations (``state``, a copy), and what others learn when that is true."""

    def __init__(self, state: Registrations) -> None:
        self.state = state.copy()
        self.ends: list[Port] = []
        """Those whose tasks end."""
        self.told: list[tuple[list[Port], Asc]] = []

    def tell(self, ports: list[Port], asc: Asc) -> None:
        """A unit attention for those of ``ports`` that are there by then, but for who makes the change."""
        self.told.append((ports, asc))

    def changes(self, before: Registrations) -> bool:
        """Whether something is another than ``before``."""
        return any(getattr(before, name) != getattr(self.state, name) for name in Registrations.__slots__)

    def hold(self, task: Task) -> None:
        """It is true from now on."""
        unit = task.unit
        unit.reservations.persistent.become(self.state)
        for ports, asc in self.told:
            for nexus, itl_nexus in unit.itl_nexuses.items():
                if nexus is not task.nexus and Port.of(nexus) in ports:
                    itl_nexus.attention(asc)
        unit.refresh()
        if self.ends:
            others = [o for o in unit.tasks.all() if o.nexus is not task.nexus and Port.of(o.nexus) in self.ends]
            for other in unit.tasks.abort(others):
                other.dropped()


Action = Callable[[Task, RegistrationChange], None]
"""A service action: it raises ScsiError, or changes the copy and says who is told of it."""


class ReservationChanges(Part):
    """The changes of one unit that are under way: the first is being kept, the others wait."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self._turns: deque[_Turn] = deque()
        self._number = 0

    def enter(self, turn: _Turn) -> None:
        """Make the change now, or when those before it are made."""
        self._turns.append(turn)
        if len(self._turns) == 1:
            self._go_on()

    def _go_on(self) -> None:
        while self._turns:
            turn = self._turns[0]
            try:
                change = turn.work_out()
            except BaseException as error:
                self._turns.popleft()
                turn.done(error)
                continue
            place, text = self.unit.reservation_place, self._text(change)
            if place is not None and text is not None:
                self._number += 1
                place.executor.submit(partial(place.keep, self._number, text), partial(self._kept, change))
                return
            self._ended(change, None)

    def _text(self, change: RegistrationChange | None) -> str | None:
        """What has to be kept for the change to be true; None: nothing."""
        before = self.unit.reservations.persistent
        if change is None or not change.changes(before):
            return None
        wanted = change.state.aptpl or self.unit.options.keep_reservations
        if not (wanted or before.aptpl):
            return None
        return change.state.to_text() if wanted and change.state.keys else ""

    def _kept(self, change: RegistrationChange | None, error: BaseException | None) -> None:
        self._ended(change, error)
        self._go_on()

    def _ended(self, change: RegistrationChange | None, error: BaseException | None) -> None:
        turn = self._turns.popleft()
        if change is not None and error is None:
            change.hold(turn.task)
        turn.done(error)


class _Turn:
    """One command's; an executor of the work that the change is."""

    done: Callable[[BaseException | None], None]

    def __init__(self, task: Task, action: Action) -> None:
        self.task = task
        self._action = action

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Withdraw:
        """Have the change made; then call ``done``. It cannot be withdrawn: it ends by itself when it was aborted."""
        self.done = done
        ReservationChanges.of(self.task.unit).enter(self)
        return _never

    def work_out(self) -> RegistrationChange | None:
        """The change, by what is true now; None: the task was aborted while it waited. Raises ScsiError."""
        task = self.task
        if task.aborted:
            return None
        if task.generation != task.unit.generation:
            task.check()
        change = RegistrationChange(task.unit.reservations.persistent)
        self._action(task, change)
        return change


def _never() -> bool:
    return False


def _nothing() -> None:
    """All is done in the turn."""


def changing(action: Action) -> Callable[[Task], Elsewhere]:
    """The service action as a command runs it: its status comes when the change is kept, and true."""

    def run(task: Task) -> Elsewhere:
        return Elsewhere(_Turn(task, action), _nothing)

    return run
