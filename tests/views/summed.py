"""The sums of a script, as a server that was asked would give them, and rows of a report by what they are of."""

from __future__ import annotations

from iscsitools.probes.firing import Probes
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.aggregate import CommandSums
from iscsitools.trace.sums.counts import EventCounts
from iscsitools.trace.sums.declared import wanted
from iscsitools.trace.sums.snapshot import Snapshot, take
from iscsitools.trace.views.report import Report

from .traffic import Script

SECOND = 1_000_000_000


def summed(script: Script, histograms: tuple[str, ...] = ()) -> Snapshot:
    now = 0
    probes = Probes(lambda: now)
    sums, counts = CommandSums(Selection(), wanted(list(histograms))), EventCounts(Selection())
    for part in (sums, counts):
        probes.subscribe(part.mask, part)
    for call in script.calls:
        now = call.time
        call.fire(probes)
    return take(0, now, sums, counts, reset=False)


def by_client_and_event(report: Report) -> dict[tuple[str, str], dict[str, object]]:
    return {(r["client"], r["event"]): dict(r) for r in report.records}
