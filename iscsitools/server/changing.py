"""Makes a running server match another configuration.

The order, all of it; the first three steps touch nothing, and what fails there leaves everything as it was:

1. The difference is made (:mod:`iscsitools.control.plan`). What only a restart can change is refused.
2. What would be taken from somebody who uses it is refused, waited for, or forced.
3. New stores are opened and new portals bound (:mod:`iscsitools.server.prepared`); plugins agree.
4. Disks get their new sizes, one by one.
5. In one turn of the loop: sessions that are forced out end; portals, targets and units go and come; access and limits
   change.
6. Stores that went are flushed and closed when no call of theirs runs any more. Units that are moved or opened anew
   come back (:mod:`iscsitools.server.taken_stores`).

All of it runs in the control thread, which may wait; what belongs to the loop is asked of it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.config import Config, PortalConfig
from iscsitools.config.document import document_of
from iscsitools.control.plan import Change, ChangeKind, fixed_differences, plan
from iscsitools.control.protocol import Code, ControlError, InUse
from iscsitools.errors import UserError
from iscsitools.server.arrangement import Arrangement
from iscsitools.server.in_use import Use, uses
from iscsitools.server.loop_calls import LoopCalls
from iscsitools.server.prepared import Prepared
from iscsitools.server.taken_stores import Taken, TakenStores

if TYPE_CHECKING:
    from iscsitools.backstores.backstore import Backstore
    from iscsitools.server.server import Server

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.05
_HISTORY: Final = 64
_DRAIN_SAYS: Final = 5
"""How many of those who use something are named while it is waited for."""


class BrokenOff(Exception):
    """Whoever asked for a change has hung up while it waited."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A change that is asked for. ``generation``: of the configuration that it was made from; None: of any."""

    config: Config
    generation: int | None = None
    dry_run: bool = False
    in_use: InUse = InUse.REFUSE


class Changer:
    """Changes one server, one wish at a time. ``generation`` counts the changes; it begins at 1.

    ``keep`` is called in the control thread after each change, and before a disk grows.
    """

    def __init__(self, server: Server, calls: LoopCalls, keep: Callable[[Config], None]) -> None:
        self.generation = 1
        self._server = server
        self._calls = calls
        self._keep = keep
        self._arrangement = Arrangement(server)
        self._taken_stores = TakenStores(server, calls, self._arrangement)
        self._resized: list[Change] = []
        self._history: deque[tuple[int, list[str]]] = deque(maxlen=_HISTORY)

    def apply(self, wish: Wish, say: Callable[[str], None], broken_off: Callable[[], bool]) -> tuple[Change, ...]:
        """Make it so; returns the changes. Raises ControlError and BrokenOff; ``say`` gets what is waited for."""
        before = self._server.config
        self._check_generation(wish.generation)
        if lines := fixed_differences(before, wish.config):
            raise ControlError(Code.RESTART, *lines)
        sizes = self._calls.ask(
            lambda: {
                (target.name, number): unit.blocks * unit.block_size
                for target in self._server.assembly.targets
                for number, unit in target.device.units.items()
            }
        )
        changes = plan(before, wish.config, self._server.plugins.registry, sizes)
        if wish.dry_run:
            return changes
        if not changes:
            self._server.config = wish.config  # it may say the same in other words
            return ()
        self._wait_for_users(wish, changes, say, broken_off)
        prepared = Prepared(self._server, wish.config)
        try:
            prepared.make(changes)
            self._server.plugins.agree(document_of(wish.config))
            self._resize(wish.config, changes)
            taken = self._calls.ask(lambda: self._rearrange(wish, changes, prepared))
        except (UserError, BackstoreError, OSError) as error:
            prepared.undo()
            self._record(self._server.config, self._resized)
            if isinstance(error, ControlError):
                raise
            lines = list(error.lines) if isinstance(error, UserError) else [str(error)]
            raise ControlError(Code.FAILED, *lines) from None
        self._finish(before, wish.config, changes, taken)
        return changes

    # -- steps 1 and 2

    def _check_generation(self, wanted: int | None) -> None:
        if wanted is None or wanted == self.generation:
            return
        since = [line for number, lines in self._history if number > wanted for line in lines]
        told = since if self._history and self._history[0][0] <= wanted + 1 else []
        raise ControlError(
            Code.CHANGED,
            f"the configuration was changed meanwhile: it is generation {self.generation} now, not {wanted}",
            *told,
        )

    def _wait_for_users(
        self, wish: Wish, changes: Sequence[Change], say: Callable[[str], None], broken_off: Callable[[], bool]
    ) -> None:
        lost = [change.text for change in changes if change.shrinks]
        if lost and wish.in_use is not InUse.FORCE:
            raise ControlError(
                Code.IN_USE, *(f"{text}: what lies beyond is lost; it has to be forced" for text in lost)
            )
        while wish.in_use is not InUse.FORCE:
            found = self._calls.ask(lambda: uses(self._server, wish.config.targets, changes))
            if not found:
                return
            texts = [use.text for use in found]
            if wish.in_use is InUse.REFUSE:
                raise ControlError(Code.IN_USE, *texts)
            if broken_off():
                raise BrokenOff
            say("; ".join(texts[:_DRAIN_SAYS]))
            time.sleep(_LOOK_AGAIN)

    # -- step 4

    def _resize(self, config: Config, changes: Sequence[Change]) -> None:
        targets = {target.iqn: target for target in config.targets}
        self._resized.clear()
        for change in changes:
            if change.kind is not ChangeKind.LUN_RESIZED:
                continue
            iqn, number = change.target, change.lun
            where, store, _ = self._arrangement.store(iqn, number)
            lun = targets[iqn].lun(number)
            try:
                if change.size % lun.block_size:
                    raise BackstoreError(f"the size {change.size} is no multiple of the block size {lun.block_size}")
                if not change.shrinks:
                    # Kept first: a start grows a file that is shorter than what is kept, and refuses a longer one.
                    self._keep(self._server.config.with_lun(iqn, lun))
                self._resize_store(change, store)
            except (BackstoreError, OSError) as error:
                self._keep(self._server.config)
                text = error.strerror if isinstance(error, OSError) else str(error)
                told = [f"done before that: {c.text}" for c in self._resized]
                raise ControlError(Code.FAILED, f"{where}: {text}", *told) from None
            self._calls.ask(lambda c=change: self._arrangement.resized(c.target, c.lun))  # type: ignore[misc]
            self._server.config = self._server.config.with_lun(iqn, lun)
            self._resized.append(change)

    def _resize_store(self, change: Change, store: Backstore) -> None:
        """A store that never blocks belongs to the loop's thread; another may hang here, when its size is read too."""
        arrangement = self._arrangement
        self._calls.ask(lambda: arrangement.resizing(change.target, change.lun, change.size))
        try:
            if store.blocking:
                store.resize(change.size)
                _ = store.size
            else:
                self._calls.ask(lambda: store.resize(change.size))
        except BaseException:
            self._calls.ask(lambda: arrangement.not_resized(change.target, change.lun))
            raise

    # -- step 5

    def _rearrange(self, wish: Wish, changes: Sequence[Change], prepared: Prepared) -> list[Taken]:
        """Step 5, on the loop's thread; returns the stores that were taken."""
        config, arrangement = wish.config, self._arrangement
        found = uses(self._server, config.targets, changes)
        if found and wish.in_use is not InUse.FORCE:  # somebody has come since
            raise ControlError(Code.IN_USE, *(use.text for use in found))
        for use in found:
            self._cut(use)
        taken: list[Taken] = []
        targets = {target.iqn: target for target in config.targets}
        for change in changes:
            if change.kind is ChangeKind.PORTAL_REMOVED:
                arrangement.take_portal(PortalConfig.parse(change.portal))
            elif change.kind is ChangeKind.PORTAL_CHANGED:
                self._server.listeners.rename(PortalConfig.parse(change.portal))
            elif change.kind in (ChangeKind.LUN_REMOVED, ChangeKind.LUN_MOVED, ChangeKind.LUN_REPLACED):
                unit = arrangement.target(change.target).device.units[change.lun]
                store = arrangement.take_unit(change.target, change.lun)
                taken.append((change.target, change.lun, unit, store))
            elif change.kind is ChangeKind.TARGET_REMOVED:
                taken += [(change.target, -1, None, store) for store in arrangement.take_target(change.target)]
            elif change.kind is ChangeKind.TARGET_ADDED:
                arrangement.put_target(targets[change.target], prepared.policies[change.target])
            elif change.kind is ChangeKind.TARGET_CHANGED:
                arrangement.change_target(targets[change.target], prepared.policies[change.target])
        for (iqn, _), (lun, unit, store) in prepared.units.items():
            arrangement.put_unit(iqn, lun, unit, store)
        for portal, sockets in prepared.portals:
            arrangement.put_portal(portal, sockets)
        arrangement.settle(config, prepared.discovery)
        return taken

    def _cut(self, use: Use) -> None:
        if use.ends and self._server.table.by_tsih(use.session.tsih) is use.session:
            self._server.login.drop_session(use.session, f"cut: {use.text}")

    # -- step 6, and what is kept of it

    def _finish(self, before: Config, config: Config, changes: Sequence[Change], taken: Sequence[Taken]) -> None:
        problems, failed = self._taken_stores.settle(before, config, changes, taken)
        done = [change for change in changes if change not in failed]
        self._record(self._server.config, done)
        if failed and not done:
            self._keep(self._server.config)
        if problems:
            raise ControlError(Code.FAILED, *problems, *(f"done: {change.text}" for change in done))

    def _record(self, config: Config, changes: Sequence[Change]) -> None:
        """A change was made: count it, remember it, and have it kept."""
        if not changes:
            return
        self.generation += 1
        lines = [change.text for change in changes]
        self._history.append((self.generation, lines))
        for line in lines:
            log.info("changed: %s", line, extra={"generation": self.generation})
        self._keep(config)
