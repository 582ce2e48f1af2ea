"""The ring's records and the sums over one data path, to be compared with those over the other."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from iscsitools.probes.firing import XFER_READ, Probes
from iscsitools.probes.table import ALL_MASK, Probe
from iscsitools.trace.feed.sink import Sink
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.declared import HISTOGRAMS
from iscsitools.trace.sums.native import make_sums
from iscsitools.trace.sums.snapshot import take

RECORDS = 8192
_ADDRESS = slice(56, 64)
"""Of a transfer, in its record."""
_TYPE = 72
_TRANSFERS = (Probe.XFER_START, Probe.XFER_DONE)


class Records(Sink):
    """Keeps records in memory of its own, as many as one step makes."""

    def __init__(self) -> None:
        self.kept = bytearray(RECORDS * SIZE)
        self.read = 0
        super().__init__(Selection(), memoryview(self.kept), self._told, self._told, lambda: None)

    @staticmethod
    def _told(message: object) -> bool:
        return True

    def _free(self, written: int) -> int:
        return RECORDS - (written - self.read)

    def take(self) -> list[bytes]:
        """The records since the last time, without what may differ: addresses, and which command's come first.

        Some commands are tasks in one of the data paths, and then are answered a little later.
        """
        found = []
        for number in range(self.read, self.written):
            at = number % RECORDS * SIZE
            record = bytearray(self.kept[at : at + SIZE])
            record[:8] = bytes(8)
            if record[32] in _TRANSFERS:
                record[_ADDRESS] = bytes(8)
            found.append(bytes(record))
        self.read = self.written
        return sorted(found, key=_command_of)


def _command_of(record: bytes) -> tuple[bytes, bool]:
    """Connection and Initiator Task Tag; behind all else the end of a read, which comes when the socket takes its data.

    So it may come before or after a command that has the same tag too soon.
    """
    at = 48 if record[32] in _TRANSFERS else 64
    leaves = record[32] == Probe.XFER_DONE and record[_TYPE] == XFER_READ
    return record[24:28] + record[at : at + 4], leaves


class Tracing:
    """A ring and sums that are attached together; ``module``: the twin in C that writes both, or None."""

    def __init__(self, probes: Probes, module: ModuleType | None) -> None:
        probes.use_tracers(module)
        self._probes = probes
        self._records = Records()
        self._sums = make_sums(probes, Selection(), HISTOGRAMS, busy=True)
        self.ring = self.sums = False

    def attach(self, ring: bool, sums: bool) -> None:
        """Have them look, or not. Sums begin once, and then go on."""
        if ring != self.ring:
            self._probes.subscribe(ALL_MASK if ring else 0, self._records)
            self.ring = ring
        if sums and not self.sums:
            self._probes.subscribe(self._sums.mask, self._sums)
            self.sums = True

    def state(self) -> list[Any]:
        """All that was recorded since the last time, and the sums so far."""
        taken = take(0, 0, self._sums, None, False)
        rows = sorted(taken.commands, key=_row_key) if self.sums else []
        busy = sorted((taken.busy or {}).items()) if self.sums else []
        under_way = sorted((info.ident, lun, count) for info, lun, count in self._sums.under_way())
        return [*self._records.take(), *map(repr_of, rows), busy, under_way, self._records.drops]


def repr_of(row: Any) -> str:
    """A row with its histograms in order."""
    row.histogram = dict(sorted(row.histogram.items()))
    row.errors = dict(sorted(row.errors.items()))
    row.histograms = {name: (d.width, sorted(d.counts.items())) for name, d in row.histograms.items()}
    return repr(row)


def _row_key(row: Any) -> tuple[int, ...]:
    return (
        row.conn.ident,
        row.lun,
        -1 if row.opcode is None else row.opcode,
        row.service_action or 0,
        row.reads,
        row.writes,
    )
