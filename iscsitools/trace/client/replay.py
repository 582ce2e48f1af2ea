"""Sums over records instead of live events, with the classes that the server uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from iscsitools.probes.firing import SCSI_COMMAND
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.client.recording import FileTrace
from iscsitools.trace.protocol import Message
from iscsitools.trace.record import WHOLE, XFER_BODY, cdb_of
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.aggregate import CommandSums
from iscsitools.trace.sums.counts import EventCounts
from iscsitools.trace.sums.declared import wanted
from iscsitools.trace.sums.snapshot import Snapshot, take


class Replay:
    """Feeds blocks of records to sums; :meth:`snapshot` then answers as ``client.Sums`` does of a live server."""

    def __init__(
        self, selection: Selection, *, commands: bool = True, events: bool = False, histograms: Iterable[str] = (),
        busy: bool = False,
    ) -> None:  # fmt: skip
        self._sums = CommandSums(selection, wanted(list(histograms)), busy) if commands else None
        self._counts = EventCounts(selection) if events else None
        self._infos: dict[int, ConnectionInfo] = {}
        self._statuses: list[Message] = []
        """What the server said of itself, from the last time before the sums' own time on."""
        self._drops = 0
        self._time = self._since = 0
        self._wanted = selection.effective_mask
        self._calls = [
            (subscriber.mask, *subscriber.direct(self._now, _raise)[:2])
            for subscriber in (self._sums, self._counts)
            if subscriber is not None
        ]

    def feed(self, trace: FileTrace, block: bytes) -> None:
        """Add the records of a block that ``trace`` has just returned, and what else it told."""
        self._statuses += trace.take_statuses()
        self._status()
        self._drops = trace.drops
        bhs_at = 48
        for index, record in enumerate(WHOLE.iter_unpack(block)):
            _, self._time, lun, ident, generation, probe, sense, cdb_length, bhs, rest = record
            self._since = self._since or self._time
            conn = self._connection(trace, ident, generation)
            cdb = cdb_of(bhs, rest, cdb_length) if SCSI_COMMAND >> probe & 1 else b""
            for mask, pdu, xfer in self._calls:
                if mask >> probe & 1:
                    if probe == Probe.XFER_START or probe == Probe.XFER_DONE:
                        itt, _, _, _, _, kind = XFER_BODY.unpack_from(bhs)
                        xfer(probe, conn, lun, itt, 0, 0, 0, 0, kind)
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
        snapshot.status = {**self._status(), "recorded_drops": self._drops, "in_flight": self._in_flight()}
        if reset:
            self._since = self._time
        return snapshot

    def _status(self) -> Message:
        """What the server had said by now."""
        while len(self._statuses) > 1 and self._statuses[1]["time"] <= self._time:
            del self._statuses[0]
        return self._statuses[0] if self._statuses and self._statuses[0]["time"] <= self._time else {}

    def _in_flight(self) -> list[dict[str, Any]]:
        """As the server's own count, of the commands that began in the recording."""
        return [
            {
                "remote": conn.remote,
                "initiator": conn.initiator,
                "target": conn.target,
                "tsih": conn.tsih,
                "lun": lun,
                "commands": count,
            }
            for conn, lun, count in (self._sums.under_way() if self._sums is not None else ())
        ]

    def _now(self) -> int:
        return self._time

    def _connection(self, trace: FileTrace, ident: int, generation: int) -> ConnectionInfo:
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
