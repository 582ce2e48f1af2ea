"""What ``top`` keeps of a row beside its last interval: a minute whole, and latencies of half an hour."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from iscsitools.trace.sums.histogram import powers

CELLS: Final = 60
"""Seconds that a row's graph covers, each a cell of it; a row that was idle for so long is dropped."""
KEPT: Final = 1800
"""Seconds that a row's heat map can go back, while there are few rows."""
MOST_KEPT: Final = 200_000
"""Seconds of all rows together, about: 20 MB."""
SECOND: Final = 1_000_000_000
_PAIR: Final = struct.Struct("<BI")


class Point(NamedTuple):
    """One interval of a row key's history."""

    end: int
    seconds: float
    rate: float
    """Commands per second."""
    histogram: Mapping[int, int]
    """Their latencies."""


@dataclass(slots=True)
class Series:
    """One row key's history."""

    points: deque[Point] = field(default_factory=deque)
    past: deque[tuple[int, bytes]] = field(default_factory=deque)
    """The end of each interval before those, and its latencies (:func:`packed`)."""
    errors: int = 0
    seen: int = 0
    """The end of the last interval with a command of any kind: some neither read nor write."""

    def forget(self, now: int, kept: int) -> None:
        """Keep the last minute whole, of so many seconds the latencies, and nothing of what was before."""
        while self.points[0].end <= now - CELLS * SECOND:
            point = self.points.popleft()
            if point.histogram:
                self.past.append((point.end, packed(powers(point.histogram))))
        while self.past and self.past[0][0] <= now - kept * SECOND:
            self.past.popleft()

    def latencies(self, now: int, ages: range) -> Iterator[tuple[int, Mapping[int, int]]]:
        """Of the intervals that ended so many whole seconds ago, those and the latencies by powers of two."""
        for end, told in self.past:
            if (now - end) // SECOND in ages:
                yield (now - end) // SECOND, unpacked(told)
        for point in self.points:
            if (now - point.end) // SECOND in ages:
                yield (now - point.end) // SECOND, powers(point.histogram)


def packed(counts: Mapping[int, int]) -> bytes:
    """Counts by powers of two in little room: half an hour of many rows is kept of them."""
    return b"".join(_PAIR.pack(value.bit_length(), min(count, 0xFFFFFFFF)) for value, count in counts.items())


def unpacked(told: bytes) -> dict[int, int]:
    """What :func:`packed` had."""
    return {1 << length >> 1: count for length, count in _PAIR.iter_unpack(told)}


def add_history(cells: list[float], points: Iterable[Point], now: int) -> None:
    """Add a history to the cells; an interval that covers a part of a second counts for that part."""
    for end, seconds, rate, _ in points:
        youngest = (now - end) / SECOND
        oldest = youngest + seconds
        for age in range(int(youngest), min(math.ceil(oldest), CELLS)):
            cells[-1 - age] += rate * (min(age + 1, oldest) - max(age, youngest))
