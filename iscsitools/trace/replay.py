"""Sums over records instead of live events, with the classes that the server uses."""

from __future__ import annotations

from iscsitools.probes.sites import SCSI_COMMAND, ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.aggregate import CommandSums
from iscsitools.trace.counts import EventCounts
from iscsitools.trace.record import WHOLE, cdb_of
from iscsitools.trace.selection import Selection
from iscsitools.trace.snapshot import Snapshot, take
from iscsitools.trace.source import Trace


class Replay:
    """Feeds blocks of records to sums; :meth:`snapshot` then answers as ``client.Sums`` does of a live server."""

    def __init__(self, selection: Selection, *, commands: bool = True, events: bool = False) -> None:
        self._sums = CommandSums(selection) if commands else None
        self._counts = EventCounts(selection) if events else None
        self._infos: dict[int, ConnectionInfo] = {}
        self._time = self._since = 0
        self._wanted = selection.effective_mask
        self._calls = [
            (subscriber.mask, *subscriber.direct(self._now, _raise)[:2])
            for subscriber in (self._sums, self._counts)
            if subscriber is not None
        ]

    def feed(self, trace: Trace, block: bytes) -> None:
        """Add the records of a block that ``trace`` has just returned."""
        bhs_at = 48
        for index, record in enumerate(WHOLE.iter_unpack(block)):
            _, self._time, lun, ident, generation, probe, sense, cdb_length, bhs, rest = record
            self._since = self._since or self._time
            conn = self._connection(trace, ident, generation)
            cdb = cdb_of(bhs, rest, cdb_length) if SCSI_COMMAND >> probe & 1 else b""
            for mask, pdu, xfer in self._calls:
                if mask >> probe & 1:
                    if probe == Probe.XFER_START or probe == Probe.XFER_DONE:
                        xfer(probe, conn, lun, 0, 0, 0, 0, 0, 0)
                    else:
                        pdu(probe, conn, lun, block, index * 128 + bhs_at, cdb, sense)
        for ident in trace.take_closed():
            self._infos.pop(ident, None)
            for kept in (self._sums, self._counts):
                if kept is not None:
                    kept.close(ident)

    def snapshot(self, reset: bool = False, until: int = 0) -> Snapshot:
        """Read the sums; with ``reset`` they begin again from 0.

        The times are those of the first and last record; ``until``, an interval's end, may be after the last one.
        """
        self._time = max(self._time, until)
        snapshot = take(self._since, self._time, self._sums, self._counts, reset)
        if reset:
            self._since = self._time
        return snapshot

    def _now(self) -> int:
        return self._time

    def _connection(self, trace: Trace, ident: int, generation: int) -> ConnectionInfo:
        info = self._infos.get(ident)
        if info is None:
            info = self._infos[ident] = ConnectionInfo(ident, generation=-1)
        if info.generation != generation:
            strings = trace.names[ident, generation]
            for name in ("local", "remote", "protocol", "target", "initiator", "isid", "tsih", "transport"):
                setattr(info, name, getattr(strings, name))
            info.generation = generation
        return info


def _raise(error: Exception) -> None:
    raise error
