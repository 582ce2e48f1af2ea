"""The text formats, by the client library, in pieces of few samples: by itself it writes a whole page in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from iscsitools_prometheus.families import DurationFamily

_SAMPLES: Final = 32
"""In one piece: a quarter of a millisecond."""
Encoder = Callable[[Any], bytes]
"""One of the client library's: it takes what has ``collect``."""


class _Collected:
    """Hands metrics that are made already to the client library."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Return them."""
        return iter(self._metrics)


def _pieces(metric: Metric) -> Iterator[list[Sample]]:
    if isinstance(metric, DurationFamily):
        return metric.pieces()
    return (metric.samples[at : at + _SAMPLES] for at in range(0, len(metric.samples), _SAMPLES))


def encode(metrics: Iterable[Metric], encoder: Encoder) -> Iterator[bytes]:
    """What ``encoder`` makes of all the metrics, piece by piece."""
    end = encoder(_Collected(()))  # OpenMetrics has a last line, the older format has none
    for metric in metrics:
        piece = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        head = encoder(_Collected([piece])).removesuffix(end)
        yield head
        for piece.samples in _pieces(metric):
            yield encoder(_Collected([piece]))[len(head) :].removesuffix(end)
    yield end
