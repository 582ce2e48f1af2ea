"""A store behind a server in this process, and initiators that log in to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from iscsitools.backstores.base import Backstore
from iscsitools.config.commandline import config_from_options
from iscsitools.initiator import Session
from iscsitools.plugins import PluginManager
from iscsitools.server.server import Server

IQN: Final = "iqn.2026-11.example:testing"
_SECONDS: Final = 60.0
_TEST_UNIT_READY: Final = bytes(6)


class Served:
    """A server that runs in a thread until the block of :func:`serve` ends."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server")
        self._thread.start()
        self._ready.wait(_SECONDS)
        if self._error is not None:
            raise self._error
        host, _, port = server.addresses[0].rpartition(":")
        self.address = (host, int(port))
        """Where it listens, for other initiators."""

    def _run(self) -> None:
        try:
            self._server.run(lambda _: self._ready.set())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    @property
    def stores(self) -> list[Backstore]:
        """The opened stores, by LUN; the outermost part of each."""
        return [store for _, store, _ in self._server.assembly.stores]

    def connect(self, name: str = "a") -> Session:
        """Log in as ``iqn.2026-11.example:NAME``; the unit attentions of the beginning are taken."""
        session = Session.connect(self.address, IQN, initiator=f"iqn.2026-11.example:{name}")
        for lun in range(len(self.stores)):
            session.command(_TEST_UNIT_READY, lun)
        return session

    def end(self) -> None:
        """End the server in an orderly way: its stores are flushed and closed."""
        self._server.shut_down()
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive(), "the server did not end: a call of a backstore has not returned"
        if self._error is not None:
            raise self._error


@contextmanager
def serve(*specs: str, plugins: tuple[ModuleType, ...] = ()) -> Iterator[Served]:
    """Serve disks by their specs, LUN 0 and on, on a free port of 127.0.0.1, for the block.

    ``plugins``: modules that are not installed, with the hooks of a plugin. Raises UserError for a spec that is wrong,
    and AssertionError when a plugin cannot be loaded.
    """
    manager = PluginManager()
    manager.load()
    for module in plugins:
        loaded = manager.register(module, module.__name__)
        assert loaded.status == "loaded", loaded.error
    ordered = [("iqn", IQN), *(("lun", spec) for spec in specs)]
    top = {"portals": ["127.0.0.1:0"], "provider": "none"}
    config, _ = config_from_options(ordered, top, manager.registry)
    served = Served(Server(config, manager))
    try:
        yield served
    finally:
        served.end()
