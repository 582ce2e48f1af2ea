"""A place in a unit's task set for work on a range of blocks that is part of something larger."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.scsi.core.command import Command
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.task_set import QueuedTask
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.scsi import Attribute


class HeldRange(QueuedTask):
    """The range waits for its turn as a task of ``nexus`` does: ``begun`` is called when it has come.

    ``lost`` is called when a task management function, or the end of the nexus or of the unit, ends it. One whose turn
    had come keeps its place all the same until it is released, as what was begun may still change blocks.
    """

    unordered = True
    __slots__ = ("_begun", "_lost", "_unit")

    def __init__(
        self, unit: LogicalUnit, nexus: Nexus, command: Command, lba: int, blocks: int,
        begun: Callable[[], None], lost: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(nexus, Attribute.SIMPLE)
        self.command = command
        self.lba, self.blocks = lba, blocks
        self._unit = unit
        self._begun = begun
        self._lost = lost

    def wait(self) -> None:
        """Queue for the range; ``begun`` may be called before this returns."""
        self._unit.tasks.enter(self)
        self._unit.tasks.data_is_there(self)

    def release(self) -> None:
        """Leave: others may work on the blocks. A range that waits does so no more."""
        self._unit.tasks.leave(self)

    def start(self) -> None:
        """It is its turn."""
        self._unit.tasks.is_at_work(self)
        self._begun()

    def end_without_status(self) -> None:
        """It was aborted."""
        if not self.started:
            self.release()
        self._lost()

    def dropped(self) -> None:
        """No transport knows of it."""
