"""The end of a server: it is asked for, it begins, and all is closed.

The steps that initiators see stand in :mod:`iscsitools.server.ending`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from iscsitools.server.ending import REASON, Ending, StoreCloser

if TYPE_CHECKING:
    from iscsitools.server.server import Server


class Shutdown:
    """Ends one server. ``stuck`` and ``lost`` are known when all is closed."""

    def __init__(self, server: Server) -> None:
        self.ending = Ending(
            server.loop, server.connections.tcp, self._calls_running, server.config.limits.exit_timeout
        )
        self.stuck = False
        """A backstore call did not return, so the process has to be left by force."""
        self.lost = False
        """A backstore could not be flushed."""
        self._server = server
        self._closer = StoreCloser()
        self._closing = False
        self._wanted = False

    def ask(self) -> None:
        """End in an orderly way; the second call does not wait for initiators. For any thread and signal handler."""
        if self._closing:
            self._closer.hurry()
        else:
            self._server.loop.call_soon(self._begin)

    def go_on(self) -> None:
        """It is known that the disks are this server's: begin the end that was asked for meanwhile."""
        if self._wanted:
            self._begin()

    def _begin(self) -> None:
        server = self._server
        for target in server.assembly.targets:
            target.device.end()
        if self.ending.begun:
            self._closer.hurry()
            server.loop.stop()
            return
        if server.holding:  # first it has to be known whose the disks are
            self._wanted = True
            return
        server.listeners.close()
        self.ending.begin()

    def _calls_running(self) -> int:
        return sum(workers.running for _, _, workers in self._server.assembly.stores)

    def close(self, *steps: Callable[[], None]) -> None:
        """Close everything, ``steps`` too, whatever one of them raises; connections first, the loop last."""
        server = self._server
        self._closing = True
        with ExitStack() as stack:
            if server.handover_channel is not None:
                stack.callback(server.handover_channel.close)
            stack.callback(server.loop.close)
            stack.callback(server.connections.forget)
            stack.callback(server.secret_lookups.close)
            if server.assembly.keeper is not None:
                stack.callback(server.assembly.keeper.close)
            stack.callback(server.lifecycle.close)
            if server.view is not None:
                stack.callback(server.lifecycle.server_stopped, server.view.notice)
            for step in (*steps, *(feed.close for feed in server.observer_feeds)):
                stack.callback(step)
            if server.trace is not None:
                stack.callback(server.trace.close)
            stack.callback(self._close_stores)
            stack.callback(server.control.close)
            stack.callback(server.notices.targets_stopped)
            if server.connections.threads is not None:
                stack.callback(server.connections.threads.close)
            stack.callback(
                server.connections.close, REASON if server.handover_channel is None else "another server takes over"
            )
            stack.callback(server.listeners.close)
            if server.view is not None:
                stack.callback(server.view.close)

    def _close_stores(self) -> None:
        server = self._server
        limit = self.ending.limit if self.ending.begun else time.monotonic() + server.config.limits.exit_timeout
        self.stuck = not self._closer.close(server.assembly.stores, limit)
        self.lost = self._closer.lost
