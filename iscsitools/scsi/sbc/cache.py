"""SYNCHRONIZE CACHE (SBC-3 5.26, 5.27)."""

from __future__ import annotations

from iscsitools.backstores.asynchronous import flush_request
from iscsitools.scsi.core.background import Background
from iscsitools.scsi.core.command import Command
from iscsitools.scsi.core.executor import Work
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit, Part

_IMMED = 0x02


class CacheFlush(Part):
    """Flushes behind a status: one at a time, and one more for all that were asked for since it began."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self._running = False
        self._again: Command | None = None

    def begin(self, command: Command) -> None:
        """Flush what has been written by now."""
        if self._running:
            self._again = command
            return
        self._running = True
        Background(self.unit, command, iter((flush_request(),)), self._ended).begin()

    def _ended(self, _error: BaseException | None) -> None:
        self._running = False
        again, self._again = self._again, None
        if again is not None:
            self.begin(again)


def synchronize_cache(task: Task) -> Work | None:
    """SYNCHRONIZE CACHE(10), (16): the whole cache is written, whatever the range; with IMMED behind the status.

    What such a flush fails with is logged and counted; there is nobody left to be told.
    """
    if task.cdb[1] & _IMMED:
        CacheFlush.of(task.unit).begin(task.command)
        return None
    return flush_request()
