"""What becomes of stores that a change has taken out: flushed and closed, served under another number, or opened anew.

All of it runs in the control thread, which may wait; what belongs to the loop is asked of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.config import Config, TargetConfig
from iscsitools.control.plan import Change, ChangeKind
from iscsitools.errors import UserError
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.arrangement import Arrangement
from iscsitools.server.assemble import make_unit, place, refuse_twins
from iscsitools.server.ending import OpenStore
from iscsitools.server.loop_calls import LoopCalls
from iscsitools.server.prepared import Prepared

if TYPE_CHECKING:
    from iscsitools.server.server import Server

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.05

Taken = tuple[str, int, LogicalUnit | None, OpenStore]
"""A store that is served no more: the target, the unit's number (-1: with its target), the unit, the store."""


class TakenStores:
    """Ends what is served no more, and serves again what was moved or is opened anew."""

    def __init__(self, server: Server, calls: LoopCalls, arrangement: Arrangement) -> None:
        self._server = server
        self._calls = calls
        self._arrangement = arrangement

    def settle(
        self, before: Config, config: Config, changes: Sequence[Change], taken: Sequence[Taken]
    ) -> tuple[list[str], list[Change]]:
        """See to each store; returns what went wrong, in lines, and which changes failed by that.

        The server's configuration says then what is served.
        """
        problems: list[str] = []
        failed: list[Change] = []
        back = {(c.target, c.lun): c for c in changes if c.kind in (ChangeKind.LUN_MOVED, ChangeKind.LUN_REPLACED)}
        targets = {target.iqn: target for target in config.targets}
        for iqn, number, unit, store in taken:
            idle = self._wait_for_calls(store)
            change = back.get((iqn, number))
            closed = False
            try:
                if change is not None and change.kind is ChangeKind.LUN_MOVED and idle:
                    self._move(config, targets[iqn], change.to, unit, store)
                    continue
                if not idle:
                    raise BackstoreError("calls of its backstore do not return; it stays open")
                _close(store)
                closed = True
                if change is not None:
                    self._open_anew(config, targets[iqn], number)
            except (UserError, BackstoreError, OSError) as error:
                where = place(iqn, number)
                problems.append(f"{where}: {str(error).removeprefix(f'{where}: ')}")
                if change is not None:
                    failed.append(change)
                    gone = change.to if change.kind is ChangeKind.LUN_MOVED else number
                    if closed:
                        problems.append(f"{where} {self._open_as_before(before, iqn, number)}")
                    else:
                        self._server.config = self._server.config.without_lun(iqn, gone)
        return problems, failed

    def _open_as_before(self, before: Config, iqn: str, number: int) -> str:
        """Serve a LUN as it was, which cannot be opened as was wished; what became of it."""
        target = next(target for target in before.targets if target.iqn == iqn)
        try:
            self._open_anew(before, target, number)
        except (UserError, BackstoreError, OSError) as error:
            self._server.config = self._server.config.without_lun(iqn, number)
            return f"cannot be opened as before either: {str(error).removeprefix(f'{place(iqn, number)}: ')}"
        self._server.config = self._server.config.with_lun(iqn, target.lun(number))
        return "is served as before"

    def _wait_for_calls(self, store: OpenStore) -> bool:
        """Wait until no thread works for a store that was taken; False when that takes too long."""
        until = time.monotonic() + self._server.config.limits.exit_timeout
        while running := store[2].running:
            if time.monotonic() > until:
                log.error("%s: %d calls of its backstore have not returned", store[0], running)
                return False
            time.sleep(_LOOK_AGAIN)
        return True

    def _move(
        self, config: Config, target: TargetConfig, number: int, before: LogicalUnit | None, store: OpenStore
    ) -> None:
        """The same disk under another number keeps its identity and its persistent reservations."""
        assert before is not None
        lun = target.lun(number)
        as_before = replace(lun, serial=before.identity.serial, naa=before.identity.naa)
        unit = make_unit(target.iqn, as_before, store[1], store[2])
        Prepared(self._server, config).fit(target, unit)
        unit.reservations.persistent = before.reservations.persistent
        self._calls.ask(lambda: self._arrangement.put_unit(target.iqn, lun, unit, store))

    def _open_anew(self, config: Config, target: TargetConfig, number: int) -> None:
        prepared = Prepared(self._server, config)
        try:
            prepared.open(target, number)
            lun, unit, store = prepared.units[target.iqn, number]
            refuse_twins(place(target.iqn, number), unit, self._server.assembly.units)
        except BaseException:
            prepared.undo()
            raise
        self._calls.ask(lambda: self._arrangement.put_unit(target.iqn, lun, unit, store))


def _close(store: OpenStore) -> None:
    """Flush and close a store that nobody uses any more. Raises BackstoreError when what was written may be lost."""
    where, backstore, workers = store
    workers.close()
    try:
        if backstore.capabilities.volatile_cache or not backstore.capabilities.read_only:
            backstore.flush()
    except Exception as error:
        raise BackstoreError(f"flushing at its end failed: {type(error).__name__}: {error}") from None
    finally:
        backstore.close()
    log.info("closed", extra={"lun": where})
