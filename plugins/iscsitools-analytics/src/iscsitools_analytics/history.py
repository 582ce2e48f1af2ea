"""Questions about the past, answered from the store, and about the last seconds, answered from memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from iscsitools_analytics.answer import Column
from iscsitools_analytics.question import OF_SERIES, Question
from iscsitools_analytics.series import Series
from iscsitools_analytics.store import Store
from iscsitools_analytics.tally import Tally

STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 7 * 86400)
"""Seconds that a column may be wide."""
MOST_COLUMNS: Final = 1000
_HOUR: Final = 3600
_KEPT: Final = 5
"""Seconds that are kept in memory, for those who look on."""
_MOST_WORDS: Final = 500


class Recent:
    """What the servers counted in the last seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[int, dict[str, Mapping[Series, Tally]]] = {}

    def add(self, server: str, t: int, counted: Mapping[Series, Tally]) -> None:
        """A server has told of a second."""
        with self._lock:
            self._seconds.setdefault(t, {})[server] = counted
            for old in [each for each in self._seconds if not t - _KEPT < each <= t + _KEPT]:
                del self._seconds[old]

    def column(self, question: Question, t: int) -> Any:
        """The column of a second; None when no server has told of it that the question is about."""
        with self._lock:
            told = dict(self._seconds.get(t, {}))
        column = Column(question)
        asked = [server for server in told if question.admits_key("server", server)]
        for server in asked:
            for series, tally in told[server].items():
                if question.admits(series):
                    column.add(series, tally, t)
        return column.value(1) if asked else None


def step_for(span: float, columns: int, least: int) -> int:
    """The width of a column, so that there are at most so many, and none is finer than ``least``."""
    wanted = max(span / max(1, min(columns, MOST_COLUMNS)), least)
    return next((step for step in STEPS if step >= wanted), STEPS[-1])


class History:
    """Answers questions out of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, question: Question, begin: int, end: int, columns: int) -> dict[str, Any]:
        """The columns from ``begin`` to ``end``, seconds since 1970, both widened to whole steps.

        A column is None where no server that the question is about was watched.
        """
        step = step_for(end - begin, columns, self._store.level_at(begin))
        begin = begin // step * step
        count = min(-(-(end - begin) // step), MOST_COLUMNS)
        made = [Column(question) for _ in range(count)]
        names = {number: series for number, series in self._store.series().items() if question.admits(series)}
        # A column that is wider than an hour has several hours of the day.
        fine = min(step, _HOUR) if question.by == "hour" else step
        for place, number, tally in self._store.read(begin, begin + count * step, fine, names, question.needs):
            made[place * fine // step].add(names[number], tally, begin + place * fine)
        seen = self._seen(question, begin, step, count)
        values = [column.value(seconds) if seconds else None for column, seconds in zip(made, seen, strict=True)]
        return {"begin": begin, "step": step, "columns": values}

    def _seen(self, question: Question, begin: int, step: int, count: int) -> list[float]:
        """For how many seconds of each column anybody watched."""
        seen = [0.0] * count
        for server, spans in self._store.seen().items():
            if not question.admits_key("server", server):
                continue
            mine = [0.0] * count
            for first, last in spans:
                for place in range(max(0, (first - begin) // step), min(count, -(-(last - begin) // step))):
                    at = begin + place * step
                    mine[place] += max(0, min(last, at + step) - max(first, at))
            seen = [max(pair) for pair in zip(seen, mine, strict=True)]
        return seen

    def keys(self, since: int) -> dict[str, list[str]]:
        """Which values each dimension has had since a time, for menus; the first of very many."""
        names = self._store.series()
        begin = since // 3600 * 3600
        end = max(int(time.time()), since) + 86400
        lately = {number for _, number, _ in self._store.read(begin, end, 3600, names, ())}
        found = {dim: sorted({getattr(names[number], dim) for number in lately} - {""}) for dim in OF_SERIES}
        return {dim: values[:_MOST_WORDS] for dim, values in found.items()}
