"""The sizes of disks, read anew while they are served."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from iscsitools.scsi.core.unit import LogicalUnit

log = logging.getLogger(__name__)


def read_sizes(units: Iterable[tuple[str, LogicalUnit]]) -> None:
    """Read the size of every backstore and tell the initiators of those that have changed. ``units``: with names."""
    for where, unit in units:
        if unit.store.blocking:
            # In a thread first: a store that hangs must not keep the loop.
            unit.executor.submit(partial(getattr, unit.store, "size"), partial(take_size, where, unit))
        else:
            take_size(where, unit)


def take_size(where: str, unit: LogicalUnit, error: BaseException | None = None) -> None:
    """Take over a size that the store has just told without hanging."""
    before = unit.blocks
    try:
        if error is not None:
            raise error
        if unit.store.size < unit.block_size:
            raise OSError("it has no block left")
        unit.capacity_changed()
    except BaseException as raised:
        log.error("%s: its size cannot be read, and stays what it was: %s: %s", where, type(raised).__name__, raised)
    if unit.blocks != before:
        log.info("%s: its size has changed", where, extra={"blocks": unit.blocks, "before": before})
