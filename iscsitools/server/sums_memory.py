"""What sums keep for commands that have not ended, in the one account of memory.

An initiator can send commands that nobody ever answers (outside of its window, or without their data), and whoever sums
up keeps the beginning of each: bounded by connection (``trace.sums.arrivals.MAX_STARTS``), and counted here as held by
that initiator. Not at each command, which is the hottest place there is, but with every tick of the server, after a
second at the most.
"""

from __future__ import annotations

from collections.abc import Iterable

from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.probes.subscribers import ConnectionInfo


class SumsMemory:
    """Keeps ``buffers`` up to date with what sums hold."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._held: dict[str, int] = {}

    def take(self, pairs: Iterable[tuple[ConnectionInfo, int]]) -> None:
        """Put into the account what sums hold now, by connection, in the place of what they held before."""
        held: dict[str, int] = {}
        for info, length in pairs:
            if length:
                owner = info.initiator or info.remote.rpartition(":")[0]
                held[owner] = held.get(owner, 0) + length
        for owner in held.keys() | self._held.keys():
            change = held.get(owner, 0) - self._held.get(owner, 0)
            if change:
                self._buffers.count(owner, change)
        self._held = held
