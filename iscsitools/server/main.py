"""From a configuration to a process that serves it, until a signal ends it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable

from iscsitools.config import Config
from iscsitools.plugins import PluginManager
from iscsitools.server.server import Server


def serve(config: Config, plugins: PluginManager, on_ready: Callable[[Server], None]) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status. Raises UserError when it cannot start.

    ``on_ready`` is called once connections are accepted. A second signal ends without waiting for anybody. SIGHUP has
    the sizes of the disks read anew. When a backstore call never returned, the process is left here by force: its
    thread cannot be ended otherwise.
    """
    server = Server(config, plugins)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.shut_down())
    signal.signal(signal.SIGHUP, lambda *_: server.read_sizes())
    # What was made up to here stays; with it out of the collector's sight a full collection is short.
    gc.freeze()
    server.run(lambda _: on_ready(server))
    if server.stuck:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)
    return 0
