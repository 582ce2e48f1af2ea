"""What ``record`` asks a server beside its events: who is logged in, and how the server is."""

from __future__ import annotations

import time
from typing import Final

from iscsitools.trace.client.attach import WatchedServer
from iscsitools.trace.client.checked import STATUS, selected, sessions_of, status_of
from iscsitools.trace.client.recording import Recorder
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.selection import Selection

_STATUS_SECONDS: Final = 1.0
_SESSIONS_SECONDS: Final = 10.0
"""Between two lists of sessions while nobody comes or goes: what has been counted since is lost if the server dies.

More while little happens, so that the file of a night in which nothing does stays small.
"""


class Describer:
    """Asks ``server``, on a connection of its own, and writes what it says of those that ``selection`` selects.

    Its own, because an answer that waits in the socket would let the reader of a ring go
    (:mod:`iscsitools.trace.feed.peer`).
    """

    def __init__(self, server: WatchedServer, recorder: Recorder, selection: Selection) -> None:
        self._server = server
        self._recorder = recorder
        self._selection = selection
        self._status_due = self._sessions_due = 0.0

    def look(self) -> None:
        """Ask if it is time to; not more than once a second, and nothing any more when the server is gone."""
        now = time.monotonic()
        if now >= self._status_due:
            self.ask(self._recorder.changed or (now >= self._sessions_due and self._recorder.outweighs))

    def ask(self, sessions: bool = True) -> None:
        """Ask now, for the sessions too or not."""
        now = time.monotonic()
        try:
            status = status_of(self._server.status())
            self._recorder.write_status({name: status[name] for name in STATUS})
            if sessions:
                self._recorder.write_sessions(selected(sessions_of(self._server.sessions()), self._selection))
                self._sessions_due = now + _SESSIONS_SECONDS
            self._recorder.flush()
            self._status_due = now + _STATUS_SECONDS
        except TraceError:
            # The server is gone, which the events' own connection says; or one of another kind, that tells less.
            self._status_due = float("inf")
