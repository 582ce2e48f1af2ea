"""Gives all that is served to another process that takes over (``serve --takeover``), or goes on when that fails.

The order, all of it. Until the last step the other one can fail and this server goes on; its initiators have waited.

1. Nobody is accepted, nothing more is read: who comes, and what is sent, waits in the system's queues.
2. What was read runs to its end, and answers go out. What does not end within ``exit_timeout`` is a reason to go on.
3. Every store is flushed and closed, so that nothing of this process can write any more.
4. The other one gets the listening sockets, what is only in memory, and the state of each unit; it opens the stores.
5. It is ready: connections are closed here, this process ends, and only then the other one serves.

If it is not, stores are opened again, as they were, and step 1 is taken back.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from iscsitools.backstores.base import Backstore
from iscsitools.config.document import document_of
from iscsitools.control.protocol import Code, ControlError
from iscsitools.errors import UserError
from iscsitools.scsi.core.succession import unit_state
from iscsitools.server.assemble import open_store, place
from iscsitools.server.ending import OpenStore
from iscsitools.server.filter_settings import put_into_force, settings_of
from iscsitools.server.heritage import HandoverChannel, Heritage, UnitHeritage
from iscsitools.server.loop_calls import LoopCalls

if TYPE_CHECKING:
    from iscsitools.scsi.core.unit import LogicalUnit
    from iscsitools.server.server import Server

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.02
_ANSWERS_SECONDS: Final = 2.0
"""How long answers may take to go out: who takes none keeps nobody."""
_READY_SECONDS: Final = 60.0
"""How long the other one may take to open all stores."""
_REOPEN_SECONDS: Final = 10.0
"""How long a store is tried to be opened again: the other one may still be letting go of it."""


class Handover:
    """One attempt, in the control thread. ``generation``: of the configuration."""

    def __init__(self, server: Server, calls: LoopCalls, generation: int) -> None:
        self._server = server
        self._calls = calls
        self._generation = generation
        self._closed: list[tuple[str, int]] = []
        """The units whose stores are closed, by target and number."""
        self._heritage: Heritage | None = None

    def run(self, path: str, say: Callable[[str], None], broken_off: Callable[[], bool]) -> None:
        """Hand over to the process that listens at the Unix socket ``path``. Raises ControlError when it did not.

        When this returns, the other one serves and this server ends.
        """
        channel = self._connect(path)
        self._calls.ask(self._server.hold)
        try:
            self._wait_until_idle(say, broken_off)
            say("stores are flushed and closed")
            self._heritage = self._calls.ask(self._collect)
            self._close_stores()
            say("the other server opens the stores")
            channel.send(*self._heritage.to_message())
            self._wait_until_ready(channel)
        except (UserError, OSError, EOFError, ValueError) as error:
            lines = error.lines if isinstance(error, UserError) else [_reason(error)]
            self._go_on(channel)
            raise ControlError(Code.FAILED, *(f"not taken over: {line}" for line in lines)) from None
        self._heritage.close()
        self._calls.ask(lambda: self._server.leave(channel))

    def _connect(self, path: str) -> HandoverChannel:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except (OSError, ValueError) as error:  # the latter for what is no path
            sock.close()
            reason = error.strerror if isinstance(error, OSError) else "this is no path of a socket"
            raise ControlError(Code.FAILED, f"{path}: {reason or error}") from None
        return HandoverChannel(sock)

    # -- step 2

    def _wait_until_idle(self, say: Callable[[str], None], broken_off: Callable[[], bool]) -> None:
        began = time.monotonic()
        until = began + self._server.config.limits.exit_timeout
        while busy := self._calls.ask(lambda: self._busy(time.monotonic() - began)):
            if broken_off():
                raise ControlError(Code.FAILED, "the other server has hung up")
            if time.monotonic() > until:
                raise ControlError(Code.FAILED, *busy)
            say("; ".join(busy[:3]))
            time.sleep(_LOOK_AGAIN)

    def _busy(self, seconds: float) -> list[str]:
        """What is under way still, ``seconds`` after the begin."""
        server = self._server
        found = [f"{where}: commands are under way" for where, unit in server.assembly.units if unit.tasks.at_work]
        running = [where for where, _, workers in server.assembly.stores if workers.running]
        found += [f"{where}: calls of its store have not returned" for where in running]
        if server.assembly.keeper is not None and server.assembly.keeper.running:
            found.append("reservations are being kept")
        found += [f"commands of {conn.info.remote} are under way" for conn in server.connections.tcp if conn.is_at_work]
        if seconds < _ANSWERS_SECONDS:
            found += [
                f"answers to {conn.info.remote} are under way" for conn in server.connections.tcp if conn.out.unsent()
            ]
        return found

    # -- steps 3 and 4

    def _collect(self) -> Heritage:
        server = self._server
        document = document_of(server.config)
        made = Heritage(document, self._generation, server.table.last)
        made.sockets = [(str(portal), sock.dup()) for portal, sock in server.listeners.all()]
        tables = {(t["iqn"], lun["number"]): lun for t in document["target"] for lun in t.get("lun", [])}
        for target in server.assembly.targets:
            for number, unit in target.device.units.items():
                made.units[target.name, number] = UnitHeritage(
                    tables[target.name, number], unit_state(unit), settings_of(unit.store)
                )
        return made

    def _close_stores(self) -> None:
        assert self._heritage is not None
        for (iqn, number), unit in self._heritage.units.items():
            where, store, workers = self._store(iqn, number)
            try:
                if store.capabilities.volatile_cache or not store.capabilities.read_only:
                    store.flush()
                unit.memory = store.keep()
                self._closed.append((iqn, number))
                self._calls.ask(workers.forget)
                store.close()
            except Exception as error:
                raise ControlError(Code.FAILED, f"{where}: {type(error).__name__}: {error}") from None

    def _store(self, iqn: str, number: int) -> OpenStore:
        where = place(iqn, number)
        return next(store for store in self._server.assembly.stores if store[0] == where)

    @staticmethod
    def _wait_until_ready(channel: HandoverChannel) -> None:
        answer, _ = channel.receive(_READY_SECONDS)
        if "ready" not in answer:
            lines = answer.get("failed")
            raise ControlError(Code.FAILED, *(map(str, lines) if isinstance(lines, list) and lines else ["it failed"]))
        channel.send({"yours": True})

    # -- when it failed

    def _go_on(self, channel: HandoverChannel) -> None:
        """Take all of it back."""
        try:
            channel.send({"mine": True})
        except OSError:
            log.info("who wanted to take over is gone")
        channel.close()
        try:
            for iqn, number in self._closed:
                self._reopen(iqn, number)
            if self._heritage is not None:
                self._heritage.close()
        finally:  # whatever else is wrong: nobody waits for ever
            self._calls.ask(self._server.go_on)

    def _reopen(self, iqn: str, number: int) -> None:
        assert self._heritage is not None
        config = next(target for target in self._server.config.targets if target.iqn == iqn)
        lun = next(lun for lun in config.luns if lun.number == number)
        heritage = self._heritage.units[iqn, number]
        until = time.monotonic() + _REOPEN_SECONDS
        while True:
            try:
                store = open_store(lun, self._server.plugins.registry)
                if heritage.memory >= 0:
                    store.restore(heritage.memory)
                put_into_force(store, heritage.faults)
                break
            except Exception as error:
                if time.monotonic() > until:
                    log.critical("%s cannot be opened again: %s: %s", place(iqn, number), type(error).__name__, error)
                    return
                time.sleep(_LOOK_AGAIN)
        self._calls.ask(lambda: self._put_back(iqn, number, store))

    def _put_back(self, iqn: str, number: int, store: Backstore) -> None:
        server, where = self._server, place(iqn, number)
        unit: LogicalUnit = next(unit for name, unit in server.assembly.units if name == where)
        stores = server.assembly.stores
        at = next(n for n, entry in enumerate(stores) if entry[0] == where)
        stores[at] = where, store, stores[at][2]
        unit.reopened(store)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the other server was not ready within {_READY_SECONDS:g} s"
    if isinstance(error, EOFError):
        return "the other server has ended"
    return str(error)
