"""One ring of a server, from the reader's side, and several of them merged by time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate, islice
from typing import Final, Protocol

from iscsitools.trace.memory import words_of
from iscsitools.trace.protocol import HEADER, TraceError
from iscsitools.trace.record import SIZE, WORDS

MOST_AT_ONCE: Final = 16384
"""Records of one block: 2 MiB."""
_MOST_WAITING: Final = 8 * MOST_AT_ONCE
"""Records of one ring that wait for those of others."""
_DROPS: Final = 0
_SINCE: Final = 1
_TIME: Final = 1
"""Words of the header, and of a record."""


class RecordSource(Protocol):
    """What :class:`Merged` wants of a ring."""

    @property
    def since(self) -> int:
        """See :attr:`RecordRing.since`."""

    def copy(self) -> bytes:
        """See :meth:`RecordRing.copy`."""


class RecordRing:
    """``memory``: its header and its records, a power of two; ``word``: where its reader's position stands."""

    def __init__(self, memory: memoryview, word: memoryview) -> None:
        self._header = words_of(memory[:HEADER])
        self._records = memory[HEADER:]
        self._words = words_of(self._records)
        self._word = word
        self._capacity = len(self._records) // SIZE
        self.position = 0
        """How many records were copied."""

    @property
    def drops(self) -> int:
        """Events that were lost because nobody read them in time."""
        return self._header[_DROPS]

    @property
    def since(self) -> int:
        """Since when its thread has been at events that may not all be there yet; 0: it is at none."""
        return self._header[_SINCE]

    def copy(self) -> bytes:
        """Copy the records that are there, up to the end of the ring, and say so to the server. Raises TraceError."""
        first = self.position & self._capacity - 1
        count = self._available(first)
        if not count:
            return b""
        block = bytes(self._records[first * SIZE : (first + count) * SIZE])
        # The writer spoils the numbers of the records that it is going to overwrite first, the oldest one before the
        # others; it does that only to records that it was told are read.
        if self._words[first * WORDS] != self.position + 1:
            raise TraceError("records were overwritten while they were read")
        self.position += count
        self._word[0] = self.position
        return block

    def _available(self, first: int) -> int:
        """Count the whole records from ``first`` on, without a gap: they are written in order, so search by halves."""
        words, position = self._words, self.position
        limit = min(self._capacity - first, MOST_AT_ONCE)

        def written(count: int) -> bool:
            return words[(first + count - 1) * WORDS] == position + count

        if not written(1):
            return 0
        present, absent = 1, 2
        while absent <= limit and written(absent):
            present, absent = absent, absent * 2
        absent = min(absent, limit + 1)
        while absent - present > 1:
            middle = (present + absent) // 2
            if written(middle):
                present = middle
            else:
                absent = middle
        return present

    def close(self) -> None:
        """Let go of the memory."""
        for view in (self._header, self._words, self._records, self._word):
            view.release()


class Merged:
    """The records of several rings in the order of their times.

    A record may come later than one of another ring that has a later time. So what was copied waits until no ring can
    have an earlier one: its thread has not begun anything before that time that it has not ended.
    """

    def __init__(self, rings: Sequence[RecordSource]) -> None:
        self._rings = rings
        self._waiting = [(list[int](), bytearray()) for _ in rings]
        """Of each ring, what was copied and not given out: times that never go back, and records."""
        self._given = [0] * len(rings)

    @property
    def given(self) -> list[int]:
        """How many records of each ring were given out."""
        return list(self._given)

    def has_given(self, counts: Iterable[int]) -> bool:
        """Whether so many records of each ring were given out."""
        return all(given >= count for given, count in zip(self._given, counts, strict=True))

    def take(self, now: int, patience: int) -> bytes:
        """Copy what is there, and give out what nothing can come before any more.

        ``now``: the server's clock, read before. A thread that has been at the same events for longer than
        ``patience`` nanoseconds is not waited for.
        """
        begun = [since for ring in self._rings if (since := ring.since)]
        before = max(min(begun, default=now), now - patience)
        for ring, (times, records) in zip(self._rings, self._waiting, strict=True):
            while len(times) < _MOST_WAITING and (block := ring.copy()):
                _add(times, records, block)
            if len(times) >= _MOST_WAITING:  # there may be more with the time of the last one, or a later one
                before = min(before, times[-1])
        return self._give([bisect_left(times, before) for times, _ in self._waiting])

    def rest(self) -> bytes:
        """All that is left of a server that is gone."""
        for ring, (times, records) in zip(self._rings, self._waiting, strict=True):
            while block := ring.copy():
                _add(times, records, block)
        return self._give([len(times) for times, _ in self._waiting])

    def _give(self, counts: list[int]) -> bytes:
        """The first records of each ring, merged."""
        if not any(counts):
            return b""
        parts = []
        for number, count in enumerate(counts):
            times, records = self._waiting[number]
            parts.append((times[:count], bytes(records[: count * SIZE])))
            del times[:count], records[: count * SIZE]
            self._given[number] += count
        return merge(parts)


def _add(times: list[int], records: bytearray, block: bytes) -> None:
    """Add a block to what waits. Where a time goes back, the order in the ring is kept."""
    with memoryview(block).cast("Q") as words:
        new = words[_TIME::WORDS].tolist()
    times += islice(accumulate(new, max, initial=times[-1] if times else 0), 1, None)
    records += block


def merge(parts: Sequence[tuple[Sequence[int], bytes]]) -> bytes:
    """Records of several rings, each in the order of its times; at the same time that of the first ring is first."""
    if sum(bool(times) for times, _ in parts) == 1:
        return next(records for times, records in parts if times)
    heads = [(times[0], number) for number, (times, _) in enumerate(parts) if times]
    heapify(heads)
    places, runs = [0] * len(parts), []
    while heads:
        _, number = heappop(heads)
        times, records = parts[number]
        begin = end = places[number]
        if heads:
            other, its_number = heads[0]
            end = (bisect_right if number < its_number else bisect_left)(times, other, begin)
        else:
            end = len(times)
        runs.append(records[begin * SIZE : end * SIZE])
        places[number] = end
        if end < len(times):
            heappush(heads, (times[end], number))
    return b"".join(runs)
