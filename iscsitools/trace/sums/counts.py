"""How often each probe fired, by connection: the sums behind ``who``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from iscsitools.probes.subscribers import Calls, ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.cell_table import MAX_CLOSED
from iscsitools.trace.sums.lun_filter import of_lun


class EventCounts:
    """How often each probe fired, by connection."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._counts: dict[int, list[int]] = {}
        self._infos: dict[int, ConnectionInfo] = {}
        self._closed: deque[tuple[ConnectionInfo, list[int]]] = deque()
        self.lost = 0

    @property
    def mask(self) -> int:
        """The probes to subscribe to."""
        return self._selection.effective_mask

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        """Make the calls for the call sites. Hot."""
        last: ConnectionInfo | None = None
        generation = -1
        counts: list[int] = []

        def turn_to(conn: ConnectionInfo) -> bool:
            nonlocal last, generation, counts
            if not self._selection.admits(conn):
                last = None
                return False
            last, generation = conn, conn.generation
            self._infos[conn.ident] = conn
            counts = self._counts.setdefault(conn.ident, [0] * len(Probe))
            return True

        def pdu(
            probe: int,
            conn: ConnectionInfo,
            lun: int,
            buffer: bytes | bytearray | memoryview,
            offset: int = 0,
            cdb: bytes = b"",
            sense: int = 0,
        ) -> None:
            if (conn is last and conn.generation == generation) or turn_to(conn):
                counts[probe] += 1

        def xfer(
            probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int,
            kind: int,
        ) -> None:  # fmt: skip
            if (conn is last and conn.generation == generation) or turn_to(conn):
                counts[probe] += 1

        return of_lun(self._selection.lun, Calls(pdu, xfer))

    def close(self, ident: int) -> None:
        """A connection was closed: its counts are kept until they are read."""
        if ident in self._counts:
            self._closed.append((self._infos.pop(ident), self._counts.pop(ident)))
            while len(self._closed) > MAX_CLOSED:
                self._closed.popleft()
                self.lost += 1

    def read(self) -> list[tuple[ConnectionInfo, list[int]]]:
        """Return each connection's counts, indexed by probe."""
        rows = [*self._closed, *((self._infos[ident], list(counts)) for ident, counts in self._counts.items())]
        return [(info, counts) for info, counts in rows if any(counts)]

    def reset(self) -> None:
        """Begin again from 0."""
        self._closed.clear()
        for counts in self._counts.values():
            counts[:] = [0] * len(counts)
