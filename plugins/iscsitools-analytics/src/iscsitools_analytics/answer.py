"""From counts to what a graph draws: one column for each step of time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from iscsitools.trace.sums.buckets import Distribution, merged
from iscsitools.trace.sums.declared import PHASES
from iscsitools.trace.views.cmds import failure_text

from iscsitools_analytics.question import OF_SERIES, Question
from iscsitools_analytics.series import LOGIN, Series
from iscsitools_analytics.tally import Tally, bucket_of, lower_bound, percentile

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class Column:
    """What is known of one step of time; :meth:`value` makes it JSON."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._keys: Counter[str] = Counter()
        """Values of stacks by key; of heat maps, how many commands of each."""
        self._ended: Counter[str] = Counter()
        self._longest: dict[str, int] = {}
        self._phased = 0
        self._all: dict[str, list[Distribution]] = {}
        self._marked: list[Distribution] = []

    def add(self, series: Series, tally: Tally, t: int) -> None:
        """Add the counts of a series that the question admits."""
        question = self._question
        if question.metric.kind == "heat":
            self._add_heat(series, tally, t)
        elif question.metric.kind == "lines":
            for key, _ in self._split(series, tally, t):
                self._keys[key] += tally.latency_sum
                self._ended[key] += tally.ended
                self._longest[key] = max(self._longest.get(key, 0), tally.maximum)
                if question.needs and "latency" in tally.histograms:
                    self._all.setdefault(key, []).append(tally.histograms["latency"])
        else:
            self._phased += tally.phased
            for key, count in self._split(series, tally, t):
                self._keys[key] += count

    def _split(self, series: Series, tally: Tally, t: int) -> Iterator[tuple[str, int]]:
        """The keys of the breakdown, and how much belongs to each."""
        by = self._question.by
        if by == "size":
            counts: Counter[str] = Counter()
            for bucket, count in _counts(tally, "size").items():
                counts[size_class(bucket)] += count
            pairs = list(counts.items())
        elif by == "phase":
            pairs = [(name, getattr(tally, f"{name}_sum")) for name in PHASES]
        elif by == "sense":
            pairs = [(_failure(series, code), count) for code, count in tally.errors.items()]
        else:
            key = _hour(t) if by == "hour" else _key(series, by)
            pairs = [(key, self._amount(tally))]
        return ((key, count) for key, count in pairs if count and self._question.admits_key(by, key))

    def _amount(self, tally: Tally) -> int:
        question = self._question
        if question.over:
            least = bucket_of(question.over)
            return sum(count for bucket, count in _counts(tally, "latency").items() if bucket >= least)
        match question.name:
            case "bytes":
                return tally.in_bytes + tally.out_bytes
            case "phases":
                return tally.backstore_sum + tally.waiting_sum + tally.sending_sum
            case "errors":
                return tally.failed
        return tally.ended + tally.failed

    def _add_heat(self, series: Series, tally: Tally, t: int) -> None:
        question = self._question
        found = tally.histograms.get(question.metric.needs[0])
        if found is None:
            return
        if question.over:
            least = bucket_of(question.over)
            found = Distribution(0, {b: n for b, n in found.counts.items() if b >= least})
        key = _hour(t) if question.by == "hour" else _key(series, question.by)
        if not question.admits_key(question.by, key):
            return
        self._keys[key] += sum(found.counts.values())
        self._all.setdefault("", []).append(found)
        if question.mark and getattr(series, question.mark[0]) == question.mark[1]:
            self._marked.append(found)

    def value(self, seconds: float) -> Any:
        """The column: rates of stacks, values of lines, or a heat map's cells; ``seconds`` is how long it was."""
        question = self._question
        if question.name == "phases":
            return {key: _short(total / self._phased) for key, total in self._keys.items()} if self._phased else {}
        if question.metric.kind == "stack":
            return {key: _short(count / seconds) for key, count in self._keys.items()}
        if question.metric.kind == "lines":
            return {key: self._line(key) for key, ended in self._ended.items() if ended}
        cells = merged(self._all.get("", []))
        column: dict[str, Any] = {"n": dict(self._keys), "w": cells.width, "c": _flat(cells)}
        if question.mark:
            column["m"] = _flat(merged([Distribution(cells.width, {}), *self._marked]))
        return column

    def _line(self, key: str) -> float:
        if self._question.name == "latency":
            return _short(self._keys[key] / self._ended[key])
        middle = percentile(merged(self._all.get(key, [])).counts, 0.99)
        return _short(min(middle, self._longest[key]))


def _counts(tally: Tally, name: str) -> dict[int, int]:
    found = tally.histograms.get(name)
    return found.counts if found is not None else {}


def _key(series: Series, by: str) -> str:
    return str(getattr(series, by)) if by in OF_SERIES else ""


def _failure(series: Series, code: int) -> str:
    if series.command == LOGIN:
        return f"login status {code:04x}" if code else "logged in"
    return failure_text(code)


def size_class(bucket: int) -> str:
    """The power of two of bytes that a bucket of sizes begins in: ``4 KiB`` up to less than 8 KiB."""
    power = int(lower_bound(bucket)).bit_length() - 1
    return "0 B" if power < 0 else f"{1 << power % 10} {_SIZES[min(power // 10, len(_SIZES) - 1)]}"


def _hour(t: int) -> str:
    return time.strftime("%H:00", time.localtime(t))


def _short(number: float) -> float:
    return round(number, 3) if number < 1000 else round(number)


def _flat(cells: Distribution) -> list[int]:
    return [number for pair in sorted(cells.counts.items()) for number in pair]
