"""What a backstore that others change too tells the server: its size, who may use it, and who has reserved it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from iscsitools.backstores.base import Backstore, Host
from iscsitools.config.scalars import ACCESS_STATES
from iscsitools.scsi.core.access import take_access
from iscsitools.scsi.core.executor import Executor
from iscsitools.scsi.core.port_groups import AccessState
from iscsitools.scsi.core.registrations import Port, Registrations
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.loop import Loop
from iscsitools.server.sizes import read_sizes
from iscsitools.wire.sense import Asc

log = logging.getLogger(__name__)
STATES: Final = {name: AccessState[name.upper().replace("-", "_")] for name in ACCESS_STATES}
"""Asymmetric access states by the names that configurations and backstores have for them."""
_SECONDS: Final = 2.0
"""How long a backstore's thread waits for the loop, which may itself wait for that thread at the end."""


class StoreHost(Host):
    """One disk's; its methods are for any thread."""

    def __init__(self, loop: Loop, where: str, unit: LogicalUnit) -> None:
        self._loop = loop
        self._where = where
        self._unit = unit

    def size_changed(self) -> None:
        """Read the size on the loop, and tell the initiators."""
        self._loop.call_soon(partial(read_sizes, ((self._where, self._unit),)))

    def access_changed(self) -> None:
        """Let through or refuse commands by what the store says now."""
        self._on_the_loop(self._take_access)

    def reservations_changed(self) -> None:
        """Take over the reservations."""
        self._on_the_loop(self._take_reservations)

    def _on_the_loop(self, work: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            try:
                work()
            except Exception as error:
                log.error("%s: what its backstore told: %s: %s", self._where, type(error).__name__, error)
            finally:
                done.set()

        self._loop.call_soon(call)
        done.wait(_SECONDS)

    def _take_access(self) -> None:
        access = self._unit.store.access
        if access is not None:
            take_access(self._unit, {number: STATES[name] for number, name in access.items()})
            log.info("%s: access: %s", self._where, ", ".join(f"{n} {name}" for n, name in sorted(access.items())))

    def _take_reservations(self) -> None:
        unit, text = self._unit, self._unit.store.reservations
        if text is None:
            return
        before = unit.reservations.persistent
        now = Registrations.from_text(text) if text else Registrations()
        now.generation = before.generation + 1
        unit.reservations.persistent = now
        unit.refresh()
        self._tell_losers(now.lost_since(before), now.aborts)

    def _tell_losers(self, told: Mapping[Port, Asc], aborts: bool) -> None:
        """Unit attentions for the nexuses that are here; PREEMPT AND ABORT at another server ends their tasks here."""
        unit = self._unit
        for nexus, itl_nexus in unit.itl_nexuses.items():
            if (asc := told.get(Port.of(nexus))) is not None:
                itl_nexus.attention(asc)
        if aborts:
            gone = {port for port, asc in told.items() if asc is not Asc.RESERVATIONS_RELEASED}
            for task in unit.tasks.abort([task for task in unit.tasks.all() if Port.of(task.nexus) in gone]):
                task.dropped()


class SharedReservations:
    """Where a backstore keeps reservations for all servers; a :class:`~iscsitools.scsi.core.place.Place`."""

    def __init__(self, store: Backstore, executor: Executor) -> None:
        self.executor = executor
        self._store = store
        self._lock = threading.Lock()
        self._kept = 0

    def keep(self, number: int, text: str) -> None:
        """Have the store keep it. Raises OSError."""
        with self._lock:
            if number > self._kept:
                self._store.keep_reservations(text)
                self._kept = number
