"""Thresholds of logical block provisioning (SBC-3 4.7.3.7.4): initiators learn that one is reached, once."""

from __future__ import annotations

from iscsitools.backstores.base import Space
from iscsitools.scsi.core.thresholds import Counts, Threshold
from iscsitools.scsi.core.unit import LogicalUnit, Part
from iscsitools.wire.sense import Asc


class Thresholds(Part):
    """Which of the enabled thresholds are reached. One is armed again when it is not reached any more."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self._reached: frozenset[Threshold] = frozenset()
        self._asking = False
        self._space: Space | None = None

    def look(self) -> None:
        """Ask the backstore how much is used and free, and compare when it has said it."""
        unit = self.unit
        if not unit.thresholds:
            self._reached = frozenset()
        elif not self._asking:
            self._asking = True
            if unit.store.blocking:
                unit.executor.submit(self._ask, self._answered)
            else:
                self._ask()
                self._answered(None)

    def reset(self) -> None:
        """After a reset a threshold that is reached is told again, to those who came to know nothing of it."""
        self._reached = frozenset()

    def _ask(self) -> None:
        self._space = self.unit.store.space()

    def _answered(self, error: BaseException | None) -> None:
        self._asking = False
        unit, space = self.unit, self._space
        if error is not None or space is None or unit.removed:
            return  # it is asked again
        counts = Counts.of(space, unit.blocks * unit.block_size)
        reached = frozenset(threshold for threshold in unit.thresholds if threshold.reached(counts))
        if reached - self._reached:
            unit.attention(Asc.SOFT_THRESHOLD_REACHED)
        self._reached = reached
