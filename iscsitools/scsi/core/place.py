"""Where something of a unit is kept over a restart; what that is stands in its text."""

from __future__ import annotations

from typing import Protocol

from iscsitools.scsi.core.executor import Executor


class Place(Protocol):
    """The place of one text of one unit."""

    executor: Executor
    """Runs what has to wait for the place; none of the unit's threads, so a stuck backstore holds nothing up."""

    def keep(self, number: int, text: str) -> None:
        """Keep ``text`` (empty: nothing) instead of what was kept, durable when this returns; in the executor.

        Numbers grow with time, and a text that comes after a newer one is not kept. Raises OSError.
        """
