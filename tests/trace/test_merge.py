"""Several rings become one stream by the times of their records."""

from __future__ import annotations

import random

from iscsitools.trace.client import record_ring
from iscsitools.trace.client.record_ring import Merged, merge
from iscsitools.trace.record import SIZE

LATER = 1 << 40


def record(time: int, mark: int = 0) -> bytes:
    return mark.to_bytes(8, "little") + time.to_bytes(8, "little") + bytes(SIZE - 16)


def records(*times: int) -> bytes:
    return b"".join(map(record, times))


def read(block: bytes) -> list[tuple[int, int]]:
    """Times and marks."""
    parts = [block[at : at + SIZE] for at in range(0, len(block), SIZE)]
    return [(int.from_bytes(part[8:16], "little"), int.from_bytes(part[:8], "little")) for part in parts]


def times(block: bytes) -> list[int]:
    return [time for time, _ in read(block)]


class Fake:
    """A ring that gives its records in the blocks that it was given."""

    def __init__(self, *blocks: bytes, since: int = 0) -> None:
        self.blocks = list(blocks)
        self.since = since

    def copy(self) -> bytes:
        return self.blocks.pop(0) if self.blocks else b""


def test_what_has_the_same_time_is_in_the_order_of_the_rings() -> None:
    parts = [([1, 5, 5, 9], b"".join(record(t, 1) for t in (1, 5, 5, 9))), ([5, 6], record(5, 2) + record(6, 2))]
    assert read(merge(parts)) == [(1, 1), (5, 1), (5, 1), (5, 2), (6, 2), (9, 1)]
    assert read(merge(parts[::-1])) == [(1, 1), (5, 2), (5, 1), (5, 1), (6, 2), (9, 1)]


def test_any_rings_merge_as_sorted() -> None:
    rng = random.Random(5)
    for _ in range(200):
        parts, everything = [], []
        for number in range(rng.randrange(1, 5)):
            own = sorted(rng.randrange(40) for _ in range(rng.randrange(30)))
            parts.append((own, b"".join(record(time, number) for time in own)))
            everything += [(time, number) for time in own]
        assert any(own for own, _ in parts) is bool(everything)
        if everything:
            assert read(merge(parts)) == sorted(everything)


def test_nothing_is_given_that_an_earlier_one_may_follow() -> None:
    one, two = Fake(records(10, 30)), Fake(records(20), since=20)
    merged = Merged([one, two])
    assert times(merged.take(100, LATER)) == [10]
    two.blocks, two.since = [records(25)], 0
    assert times(merged.take(100, LATER)) == [20, 25, 30]
    one.blocks = [records(150)]
    assert times(merged.take(100, LATER)) == []  # another may get one of 120 before the next look
    assert times(merged.take(200, LATER)) == [150]
    assert merged.given == [3, 2]


def test_a_thread_that_does_not_go_on_is_not_waited_for() -> None:
    merged = Merged([Fake(records(1000, 3000)), Fake(since=500)])
    assert times(merged.take(4000, 2000)) == [1000]
    assert times(merged.take(6000, 2000)) == [3000]


def test_all_of_a_ring_is_looked_at_where_it_begins_anew() -> None:
    """A copy ends at the end of the ring: what is at its beginning may be before what another has."""
    merged = Merged([Fake(records(10), records(20)), Fake(records(30))])
    assert times(merged.take(100, LATER)) == [10, 20, 30]


def test_what_is_too_much_at_once_keeps_the_others_back() -> None:
    half = record_ring.MOST_AT_ONCE
    many = [records(*range(begin, begin + half)) for begin in range(0, 10 * half, half)]
    merged = Merged([Fake(*many), Fake(records(9 * half))])
    first = times(merged.take(LATER, LATER))
    assert 9 * half not in first
    rest = first + times(merged.take(LATER, LATER)) + times(merged.rest())
    assert len(rest) == 10 * half + 1
    assert rest == sorted(rest)


def test_a_time_that_goes_back_keeps_its_place() -> None:
    merged = Merged([Fake(records(10, 7, 12)), Fake(records(8, 11))])
    assert times(merged.take(100, LATER)) == [8, 10, 7, 11, 12]


def test_what_is_left_of_a_server_that_is_gone_is_given() -> None:
    merged = Merged([Fake(records(10), records(20)), Fake(records(15), since=1)])
    assert times(merged.take(100, LATER)) == []
    assert times(merged.rest()) == [10, 15, 20]
    assert merged.has_given([2, 1])
    assert not merged.has_given([3, 1])
