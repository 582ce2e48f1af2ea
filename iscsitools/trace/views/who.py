"""``who``: how often each probe fired, by client."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from iscsitools.probes.lun import lun_text
from iscsitools.probes.table import ALL_MASK, Probe
from iscsitools.trace.events import ConnectionStrings, Event
from iscsitools.trace.selection import LUN_MASK, address_of
from iscsitools.trace.sums.snapshot import Snapshot
from iscsitools.trace.views.report import Column, Report, table


@dataclass(slots=True)
class WhoSums:
    """How often each probe fired, by the key of ``--by``."""

    by: str = "client"
    mask: int = ALL_MASK
    counts: Counter[tuple[str, Probe]] = field(default_factory=Counter)

    def feed(self, event: Event) -> None:
        """Count one event."""
        self.counts[group_key(self.by, event.conn, event.probe, event.info.lun), event.probe] += 1

    def closed(self, ident: int) -> None:
        """A connection is no more: its counts stay."""

    def take(self, snapshot: Snapshot) -> None:
        """Count a snapshot's events, which do not know their LUN."""
        for row in snapshot.events:
            for probe, count in row.counts.items():
                self.counts[group_key(self.by, row.conn, probe, 0), probe] += count

    def clear(self) -> None:
        """Begin a new interval."""
        self.counts.clear()

    def report(self, elapsed: int) -> Report:
        """Rows by rising count, as dtrace sorts."""
        rows = sorted((count, key, probe.label) for (key, probe), count in self.counts.items())
        columns = [Column(HEADINGS[self.by], -26), Column("iSCSI EVENT", 14), Column("COUNT", 8)]
        exact = [(key, label, count) for count, key, label in rows]
        # Only an address keeps the script's width at any length; other keys are aligned as long as that is possible.
        lines = table(columns, exact, grow=self.by != "client")
        return Report((self.by, "event", "count"), exact, lines)


HEADINGS: Final = {
    "client": "REMOTE IP",
    "connection": "CONNECTION",
    "session": "SESSION",
    "target": "TARGET",
    "lun": "TARGET AND LUN",
}
"""``--by``, and the heading of its column."""


def group_key(by: str, conn: ConnectionStrings, probe: Probe, lun: int) -> str:
    """A row's key. A session is named by its TSIH, which is unique in a server; "-" stands for no LUN or name."""
    match by:
        case "client":
            return address_of(conn.remote)
        case "connection":
            return conn.remote
        case "session":
            return f"{conn.tsih} {conn.initiator or '-'}"
        case "target":
            return conn.target or "-"
    return f"{conn.target or '-'} {lun_text(lun) if LUN_MASK >> probe & 1 else '-'}"
