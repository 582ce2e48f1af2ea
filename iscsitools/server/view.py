"""What plugins may ask the running server: their threads wait while the event loop answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from iscsitools.lifecycle import ServerGone, ServerNotice
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.server.loop import Loop
from iscsitools.server.loop_calls import LoopCalls
from iscsitools.trace.feed.questions import SelfDescription
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.native import Sums, make_sums
from iscsitools.trace.sums.snapshot import Snapshot, command_rows, take

if TYPE_CHECKING:
    from iscsitools.trace.sums.counters import Cell

_PIECE_NS: Final = 500_000
"""How long the event loop reads sums before all others have their turn."""


class View:
    """The server as plugins see it; a :class:`iscsitools.lifecycle.ServerView`."""

    def __init__(self, loop: Loop, probes: Probes, state: SelfDescription, notice: ServerNotice) -> None:
        self._calls = LoopCalls(loop)
        self._probes = probes
        self._state = state
        self._notice = notice
        self._sums: list[Sums] = []

    # -- for plugins, in threads of theirs

    @property
    def notice(self) -> ServerNotice:
        """See ``ServerView``."""
        return self._notice

    def status(self) -> dict[str, Any]:
        """See ``ServerView``."""
        return self._calls.ask(self._state.status)

    def sessions(self) -> list[dict[str, Any]]:
        """See ``ServerView``."""
        return self._calls.ask(lambda: list(self._state.sessions()))

    def keep_sums(self) -> _PluginSums:
        """See ``ServerView``."""
        sums = make_sums(self._probes, Selection())

        def begin() -> int:
            self._sums.append(sums)
            self._probes.subscribe(sums.mask, sums)
            return time.monotonic_ns()

        return _PluginSums(self, sums, self._calls.ask(begin))

    def read(self, sums: Sums, since: int, reset: bool) -> Snapshot:
        """Read sums, for :class:`_PluginSums`.

        With ``reset`` in pieces, and the rows are made here: what is counted in between counts in one of the two reads.
        """
        if not reset:
            return self._calls.ask(lambda: take(since, time.monotonic_ns(), sums, None, reset))
        reading = _Reading(sums)
        while not reading.ended:
            self._calls.ask(reading.go_on)
        rows = command_rows(sums.added_up(reading.found), sums.histograms)
        return Snapshot(since, reading.time, rows, [], reading.lost)

    def drop(self, sums: Sums) -> None:
        """Keep sums no longer, for :class:`_PluginSums`."""

        def end() -> None:
            if sums in self._sums:
                self._sums.remove(sums)
                self._probes.subscribe(0, sums)
                sums.end()

        try:
            self._calls.ask(end)
        except ServerGone:
            return  # and the sums with it

    # -- for the server, on the loop's thread

    def connection_closed(self, ident: int) -> None:
        """An iSCSI connection is no more. Call it outside of any event."""
        for sums in self._sums:
            sums.close(ident)

    def held(self) -> list[tuple[ConnectionInfo, int]]:
        """What the plugins' sums keep for commands that have not ended: each connection, and bytes."""
        return [pair for sums in self._sums for pair in sums.held()]

    def close(self) -> None:
        """Answer nobody any more; those who wait are told."""
        self._calls.close()
        for sums in self._sums:
            self._probes.subscribe(0, sums)
        self._sums.clear()


class _Reading:
    """The sums of all connections, taken one connection after the other; those of closed ones last."""

    def __init__(self, sums: Sums) -> None:
        self.found: list[tuple[ConnectionInfo, Cell]] = []
        self.lost = self.time = 0
        self.ended = False
        self._sums = sums
        self._waiting: list[int] | None = None

    def go_on(self) -> None:
        """Read on, on the loop's thread, for a short while."""
        sums, until = self._sums, time.monotonic_ns() + _PIECE_NS
        if self._waiting is None:
            self._waiting = sums.idents()
        while self._waiting:
            self.found += sums.take_connection(self._waiting.pop())
            if time.monotonic_ns() >= until:
                return
        self.found += sums.take_closed()
        self.lost, self.time, self.ended = sums.lost, time.monotonic_ns(), True


class _PluginSums:
    """Sums that are kept for a plugin; a :class:`iscsitools.lifecycle.KeptSums`."""

    def __init__(self, view: View, sums: Sums, since: int) -> None:
        self._view = view
        self._sums = sums
        self._since = since

    def read(self, reset: bool = False) -> Snapshot:
        """See ``KeptSums``."""
        snapshot = self._view.read(self._sums, self._since, reset)
        if reset:
            self._since = snapshot.time
        return snapshot

    def close(self) -> None:
        """See ``KeptSums``."""
        self._view.drop(self._sums)
