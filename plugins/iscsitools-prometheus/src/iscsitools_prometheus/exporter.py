"""One scrape: ask the server, add up, and write it in the form that was asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from iscsitools.lifecycle import KeptSums, ServerGone, ServerView
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from iscsitools_prometheus import native, text
from iscsitools_prometheus.families import families
from iscsitools_prometheus.pauses import Pauses, no_pauses
from iscsitools_prometheus.totals import Totals
from iscsitools_prometheus.web import Address, Page, Web

log = logging.getLogger(__name__)


_READ_SECONDS: Final = 30.0
"""How often the sums are read when nobody scrapes: the server keeps those of closed connections until then."""


class Exporter:
    """Serves ``/metrics``. Made when the plugin is configured, started with the server and stopped with it."""

    def __init__(self, address: Address, series: int) -> None:
        self.totals = Totals(series)
        self._web = Web(address, self.page)
        self._server: ServerView | None = None
        self._sums: KeptSums | None = None
        self._lost = 0
        self._stopped = threading.Event()

    def start(self, server: ServerView) -> None:
        """Have the server keep sums, and answer."""
        try:
            self._sums = server.keep_sums()
        except ServerGone:
            return  # it ends already
        self._server = server
        self._web.start()
        threading.Thread(target=self._read_now_and_then, name="metrics sums", daemon=True).start()
        log.info("metrics are served", extra={"url": f"http://{self._web.address}/metrics"})

    def stop(self) -> None:
        """Answer no more."""
        self._stopped.set()
        self._web.stop()

    def page(self, accept: str) -> Page:
        """Answer one scrape in the form that ``accept`` asks for. Raises ServerGone."""
        pauses = Pauses()
        metrics = self.collect(pauses)
        if native.wanted(accept):
            return Page(native.CONTENT_TYPE, _paced(native.encode(metrics), pauses))
        encoder, content_type = choose_encoder(accept)
        return Page(content_type, _paced(text.encode(metrics, encoder), pauses))

    def collect(self, pauses: Callable[[], None] = no_pauses) -> list[Metric]:
        """Ask the server and make the metrics."""
        if self._server is None or self._sums is None:
            raise ServerGone("the server has not started")
        with self.totals.lock:
            self._read(self._sums, pauses)
            asked = time.monotonic_ns()
            status = self._server.status()
            delay = (status["time"] - asked) / 1e9
            return list(families(self.totals, status, self._server.notice.name, delay, self._lost, pauses))

    def _read(self, sums: KeptSums, pauses: Callable[[], None]) -> None:
        """Add up what was counted since the last time. Lock held."""
        snapshot = sums.read(reset=True)
        self.totals.add(snapshot.commands, pauses)
        self._lost = max(self._lost, snapshot.lost)

    def _read_now_and_then(self) -> None:
        while self._sums is not None and not self._stopped.wait(_READ_SECONDS):
            try:
                with self.totals.lock:
                    self._read(self._sums, Pauses())
            except ServerGone:
                return


def _paced(pieces: Iterable[bytes], pauses: Callable[[], None]) -> Iterator[bytes]:
    """The same, with pauses in between."""
    for piece in pieces:
        yield piece
        pauses()
