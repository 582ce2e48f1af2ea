"""What a graph asks for, as a line of words: in the page's address, in requests, and in docs/analytics.md.

``operations by:client lun=iqn.example/0 client!=10.0.0.7`` is the metric, what it is broken down by, and which
series count. ``over:10000000`` leaves those whose latency is at least so many nanoseconds; ``mark:client=10.0.0.7``
has a heat map show one over all. Values are quoted as in an URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote

from iscsitools_analytics.series import LOGIN, Series


class Metric(NamedTuple):
    """Something to be shown. ``kind``: ``stack``, ``lines`` or ``heat``; ``needs``: histograms, or ``errors``."""

    title: str
    kind: str
    unit: str
    needs: tuple[str, ...] = ()
    by: str = ""
    """What it is broken down by when nothing else is said."""


METRICS: Final[Mapping[str, Metric]] = {
    "operations": Metric("Operations", "stack", "per second", by="client"),
    "bytes": Metric("Bytes", "stack", "bytes per second", by="client"),
    "latency": Metric("Average latency", "lines", "ns", by="client"),
    "p99": Metric("Latency, 99th percentile", "lines", "ns", ("latency",), by="client"),
    "phases": Metric("Phases of a command, on average", "stack", "ns", by="phase"),
    "latencies": Metric("Latency", "heat", "ns", ("latency",)),
    "sizes": Metric("Request size", "heat", "bytes", ("size",)),
    "places": Metric("Where on the disk", "heat", "blocks", ("lba",)),
    "distances": Metric("Distance from the command before", "heat", "blocks", ("seek",)),
    "depths": Metric("Queue depth", "heat", "commands", ("depth",)),
    "errors": Metric("Errors", "stack", "per second", ("errors",), by="sense"),
    "logins": Metric("Logins", "stack", "per second", by="client"),
}
OF_SERIES: Final = ("server", "client", "initiator", "target", "lun", "operation", "command")
OF_COUNTS: Final = ("size", "sense", "phase", "hour")
"""What a series is not told apart by, but its counts are, or their time."""
_SENSIBLE: Final = {"size": ("operations",), "sense": ("errors", "logins"), "phase": ("phases",)}
_LONGEST: Final = 4096


class QuestionError(ValueError):
    """Not a question; the text is one line for the user."""


@dataclass(slots=True)
class Question:
    """One graph's."""

    metric: Metric
    name: str
    by: str = ""
    only: dict[str, set[str]] = field(default_factory=dict)
    but: dict[str, set[str]] = field(default_factory=dict)
    over: int = 0
    """Nanoseconds; 0: of any latency."""
    mark: tuple[str, str] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The histograms that answer it."""
        more = {"size": ("size",), "sense": ("errors",)}.get(self.by, ())
        return (*self.metric.needs, *more, *(("latency",) if self.over else ()))

    def admits(self, series: Series) -> bool:
        """Whether a series counts."""
        if (series.command == LOGIN) != (self.name == "logins"):
            return False
        return all(
            self.admits_key(dim, getattr(series, dim)) for dim in OF_SERIES if dim in self.only or dim in self.but
        )

    def admits_key(self, dim: str, key: str) -> bool:
        """Whether what has this value of a dimension counts."""
        return (dim not in self.only or key in self.only[dim]) and key not in self.but.get(dim, ())


def question_of(text: str) -> Question:
    """Read a question. Raises QuestionError."""
    if len(text) > _LONGEST:
        raise QuestionError("the question is too long")
    name, *words = text.split() or [""]
    if name not in METRICS:
        raise QuestionError(f"there is no metric {name!r} (there are: {', '.join(METRICS)})")
    question = Question(METRICS[name], name, METRICS[name].by)
    for word in words:
        _take(question, word)
    _check(question)
    return question


def _take(question: Question, word: str) -> None:
    verb, colon, rest = word.partition(":")
    if verb == "by" and colon:
        question.by = "" if rest == "nothing" else _dimension(rest)
    elif verb == "over" and colon:
        if not rest.isascii() or not rest.isdigit() or len(rest) > 15:
            raise QuestionError(f"over:{rest} is no number of nanoseconds")
        question.over = int(rest)
    elif verb == "mark" and colon:
        dim, _, value = rest.partition("=")
        question.mark = _dimension(dim, OF_SERIES), unquote(value)
    elif "=" in word:
        dim, _, value = word.partition("=")
        places = question.but if dim.endswith("!") else question.only
        places.setdefault(_dimension(dim.removesuffix("!")), set()).add(unquote(value))
    else:
        raise QuestionError(f"{word!r} makes no sense in a question")


def _dimension(name: str, those: tuple[str, ...] = OF_SERIES + OF_COUNTS) -> str:
    if name not in those:
        raise QuestionError(f"there is no {name!r} (there are: {', '.join(those)})")
    return name


def _check(question: Question) -> None:
    """Refuse what the sums cannot tell: they keep each distribution by itself."""
    if question.by in _SENSIBLE and question.name not in _SENSIBLE[question.by]:
        raise QuestionError(f"{question.name} are not kept by {question.by}")
    if question.name == "phases" and question.by not in ("", "phase"):
        raise QuestionError("phases are by phase; those of one client or LUN are asked for by client= or lun=")
    for dim in (*question.only, *question.but):
        if dim in OF_COUNTS and dim != question.by:
            raise QuestionError(f"{dim}= needs by:{dim}")
    if question.over and (question.name not in ("operations", "latencies") or question.by == "size"):
        raise QuestionError("over: is for operations and latencies: of no other is kept how long which took")
    if question.mark and question.metric.kind != "heat":
        raise QuestionError("mark: is for heat maps")
