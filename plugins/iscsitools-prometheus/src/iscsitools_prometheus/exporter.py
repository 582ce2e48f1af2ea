"""One scrape: ask the server, add up, and write it in the form that was asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from iscsitools.lifecycle import KeptSums, ServerGone, ServerView
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from iscsitools_prometheus import native
from iscsitools_prometheus.families import families
from iscsitools_prometheus.totals import Totals
from iscsitools_prometheus.web import Address, Page, Web

log = logging.getLogger(__name__)


class _Collected:
    """Hands metrics that are made already to the client library's registry."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Return them."""
        return iter(self._metrics)


class Exporter:
    """Serves ``/metrics``. Made when the plugin is configured, started with the server and stopped with it."""

    def __init__(self, address: Address, series: int) -> None:
        self.totals = Totals(series)
        self._web = Web(address, self.page)
        self._server: ServerView | None = None
        self._sums: KeptSums | None = None
        self._lost = 0

    def start(self, server: ServerView) -> None:
        """Have the server keep sums, and answer."""
        self._server = server
        self._sums = server.keep_sums()
        self._web.start()
        log.info("metrics are served", extra={"url": f"http://{self._web.address}/metrics"})

    def stop(self) -> None:
        """Answer no more."""
        self._web.stop()

    def page(self, accept: str) -> Page:
        """Answer one scrape in the form that ``accept`` asks for. Raises ServerGone."""
        metrics = self.collect()
        if native.wanted(accept):
            return Page(native.CONTENT_TYPE, native.encode(metrics))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(metrics))
        encode, content_type = choose_encoder(accept)
        return Page(content_type, encode(registry))

    def collect(self) -> list[Metric]:
        """Ask the server and make the metrics."""
        if self._server is None or self._sums is None:
            raise ServerGone("the server has not started")
        with self.totals.lock:
            snapshot = self._sums.read(reset=True)
            self.totals.add(snapshot.commands)
            self._lost = max(self._lost, snapshot.lost)
            asked = time.monotonic_ns()
            status = self._server.status()
            delay = (status["time"] - asked) / 1e9
            return list(families(self.totals, status, self._server.notice.name, delay, self._lost))
