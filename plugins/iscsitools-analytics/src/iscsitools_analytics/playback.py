"""A file of ``iscsitools record`` as a history: the same sums, second by second, and all its commands."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from iscsitools import trace
from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.client.replay import Replay
from iscsitools.trace.record import decode
from iscsitools.trace.selection import Selection
from iscsitools.trace.views.command_tracker import CommandTracker
from iscsitools.trace.views.watch import Cutter

from iscsitools_analytics.commands import Buffer, kept_of
from iscsitools_analytics.series import Series, series_of
from iscsitools_analytics.store import Store
from iscsitools_analytics.tally import ASKED, Tally, tally_of

_SECOND: Final = 1_000_000_000


def play(path: Path, store: Store, buffer: Buffer) -> int:
    """Fill a store and a buffer; returns when the recording ends, seconds since 1970. Raises TraceError."""
    replay = Replay(Selection(ALL_MASK), histograms=ASKED)
    tracker = CommandTracker(keep_events=True, settle=True)
    cutter = Cutter(1)
    with trace.open_file(path) as events:
        name = str(events.server.get("name", path.name))
        offset = int(events.server.get("realtime", time.time_ns())) - int(events.server.get("monotonic", 0))
        end = 0
        for block, ends in cutter.cut(events):
            ended = [command for event in decode(block, events.names) for command in tracker.feed(event)]
            replay.feed(events, block)
            for ident in events.take_closed():
                ended += tracker.closed(ident)
            buffer.put(kept_of(name, command, offset) for command in ended)
            if ends:
                end = _keep(store, name, replay, cutter.time + offset)
        end = _keep(store, name, replay, cutter.time + offset + _SECOND)
    return end


def _keep(store: Store, name: str, replay: Replay, end: int) -> int:
    counted: dict[Series, Tally] = {}
    for row in replay.snapshot(reset=True).commands:
        series = series_of(name, row)
        if series in counted:
            counted[series].add(tally_of(row))
        else:
            counted[series] = tally_of(row)
    t = end // _SECOND - 1
    store.add(name, t, counted)
    return t + 1
