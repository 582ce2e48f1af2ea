"""What a server looks at every second or so, and as often as the shortest of its timers needs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from iscsitools.config import Limits
from iscsitools.server.allocator import HeapTrim
from iscsitools.server.health import LimitWatch
from iscsitools.server.sums_memory import SumsMemory

if TYPE_CHECKING:
    from iscsitools.server.server import Server

log = logging.getLogger(__name__)

_LEAST_SECONDS: Final = 0.05


class PeriodicWork:
    """Timers of connections and units, the account of what sums hold, the heap, limits, the watch sockets."""

    def __init__(self, server: Server) -> None:
        self.limit_watch = LimitWatch(server)
        self._server = server
        self._sums_memory = SumsMemory(server.buffers)
        self._heap = HeapTrim()
        self._seconds = 1.0

    def take_timers(self, limits: Limits) -> None:
        """Look as often as the shortest of these needs, from now on."""
        timers = (limits.login_timeout, limits.nop_interval, limits.nop_timeout, limits.data_out_timeout)
        self._seconds = max(_LEAST_SECONDS, min([1.0, *(seconds / 4 for seconds in timers if seconds)]))

    def start(self) -> None:
        """Look from now on."""
        self._server.loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        server = self._server
        self.start()
        if not server.holding:
            server.connections.on_time()
            for target in server.assembly.targets:
                target.device.look()
        self._count_sums()
        self._heap.look(server.buffers.reserved)
        self.limit_watch.look()
        if server.trace is not None and (line := server.trace.look_after()):
            log.warning(line)

    def _count_sums(self) -> None:
        """What readers and plugins have summed up goes into the account, and out of it again."""
        trace, view = self._server.trace, self._server.view
        readers = trace.held() if trace is not None else []
        plugins = view.held() if view is not None else []
        self._sums_memory.take((*readers, *plugins))
