"""One attachment to each server: each second its sums are read with reset, and told on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from iscsitools import trace
from iscsitools.probes.table import Probe
from iscsitools.trace.names import ServerEntry
from iscsitools.trace.views import header_fields

from iscsitools_analytics.commands import Buffer, Follower
from iscsitools_analytics.series import Roster, Series, logins_of, series_of
from iscsitools_analytics.tally import ASKED, Tally, tally_of

log = logging.getLogger(__name__)

_LOOK: Final = 1.0
"""Seconds between two looks for servers that are new, or that have come back."""
_AFTER: Final = 0.002
"""Seconds, so that a timer that is early does not end a second before its time."""
_LOGIN_RING: Final = 1 << 16
_MOST_PARTS: Final = 30
"""Into so many seconds a longer silence is divided."""
Told = Callable[[str, int, Mapping[Series, Tally], int], None]
"""Called with the server's name, the second that has ended, what it counted, and since when."""


class Watcher:
    """Watches one server until it ends; a thread of its own."""

    def __init__(self, entry: ServerEntry, tell: Told, stopping: threading.Event) -> None:
        self._entry = entry
        self._tell = tell
        self._stopping = stopping
        self._roster = Roster()
        self._counts = False
        self.thread = threading.Thread(target=self._run, name=f"watch {entry.name}", daemon=True)
        self.thread.start()

    @property
    def counts(self) -> bool:
        """Whether what the server does now is counted: from the first whole second on, until the server ends."""
        return self._counts and self.thread.is_alive()

    def _run(self) -> None:
        name, socket = self._entry.name, self._entry.paths.watch
        try:
            with (
                trace.Sums(socket=socket, histograms=ASKED) as sums,
                # A login is rare: its events cost nothing while there is none.
                trace.attach(socket=socket, probes=["login-response"], ring_size=_LOGIN_RING) as logins,
            ):
                log.info("%s: attached", name)
                self._watch(sums, logins)
        except trace.TraceError as error:
            if not self._stopping.is_set():
                log.info("%s: no longer attached: %s", name, error)

    def _watch(self, sums: trace.Sums, logins: trace.Trace) -> None:
        self._wait()
        sums.snapshot(reset=True)  # the part of a second is nobody's
        self._counts = True
        begin, asked = int(time.time()), time.monotonic()
        while not self._wait():
            rows = sums.snapshot(reset=True).commands
            now, t = time.monotonic(), int(time.time()) - 1
            counted = self._counted(rows, t)
            self._add_logins(counted, logins, t)
            # What a clock that was set leaves out is no time in which anybody watched.
            first = min(t, max(begin, t + 1 - round(now - asked)))
            for second, part, since in spread(counted, first, t):
                self._tell(self._entry.name, second, part, since)
            begin, asked = t + 1, now

    def _wait(self) -> bool:
        """Until just after the next second begins; True: it is time to stop."""
        return self._stopping.wait(1 - time.time() % 1 + _AFTER)

    def _counted(self, rows: Iterable[trace.CommandRow], t: int) -> dict[Series, Tally]:
        counted: dict[Series, Tally] = {}
        for row in rows:
            self._count(counted, series_of(self._entry.name, row), tally_of(row), t)
        return counted

    def _count(self, counted: dict[Series, Tally], series: Series, tally: Tally, t: int) -> None:
        place = self._roster.place(series, t)
        if place in counted:
            counted[place].add(tally)
        else:
            counted[place] = tally

    def _add_logins(self, counted: dict[Series, Tally], logins: trace.Trace, t: int) -> None:
        for event in logins.poll(0):
            status = header_fields.login_status(event)
            if event.probe is Probe.LOGIN_RESPONSE and (status or header_fields.is_final_login(event)):
                tally = Tally(1, 0 if status else 1, 1 if status else 0, errors={status: 1})
                self._count(counted, logins_of(self._entry.name, event.conn), tally, t)


def spread(counted: Mapping[Series, Tally], first: int, last: int) -> Iterator[tuple[int, Mapping[Series, Tally], int]]:
    """Seconds, what each counted, and since when, of what was counted from ``first`` to ``last``.

    A server that answered late, or a process that had to wait for its turn, tells of several seconds at once. Kept as
    one of them they would be a rate that never was, beside seconds in which nothing seems to have been done.
    """
    seconds = last + 1 - first
    parts = min(seconds, _MOST_PARTS)
    if parts == 1:
        yield last, counted, first
        return
    dealt = {series: tally.split(parts) for series, tally in counted.items()}
    since = first
    for k in range(parts):
        second = first + (k + 1) * seconds // parts - 1
        yield second, {series: tallies[k] for series, tallies in dealt.items() if tallies[k] != Tally()}, since
        since = second + 1


class Watchers:
    """Finds the servers that run, those that come later too, and watches each once.

    With a ``buffer`` their commands are kept as well, by a second attachment.
    """

    def __init__(self, tell: Told, find: Callable[[], list[ServerEntry]], buffer: Buffer | None = None) -> None:
        self._tell = tell
        self._find = find
        self._buffer = buffer
        self._followers: list[Follower] = []
        self._stopping = threading.Event()
        self._watching: dict[str, Watcher] = {}
        self._thread = threading.Thread(target=self._look, name="look", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def attached(self) -> list[str]:
        """The servers whose load is counted."""
        return sorted(name for name, watcher in list(self._watching.items()) if watcher.counts)

    def _look(self) -> None:
        while True:
            for entry in self._find():
                watcher = self._watching.get(entry.name)
                if watcher is None or not watcher.thread.is_alive():
                    self._watching[entry.name] = Watcher(entry, self._tell, self._stopping)
                    if self._buffer is not None:
                        self._followers.append(Follower(entry, self._buffer, self._stopping))
            self._followers = [each for each in self._followers if each.thread.is_alive()]
            if self._stopping.wait(_LOOK):
                return

    def stop(self) -> None:
        """End, and let the servers go."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        threads = [*(watcher.thread for watcher in self._watching.values()), *(each.thread for each in self._followers)]
        for thread in threads:
            thread.join()
