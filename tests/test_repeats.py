"""Lines that repeat: at once, then limited by rate, with a count."""

from __future__ import annotations

import logging

from iscsitools.repeats import RepeatLimit


def record(at: float, text: str = "disk %d failed", key: object = "disk") -> logging.LogRecord:
    made = logging.LogRecord("test", logging.ERROR, __file__, 1, text, (7,), None)
    made.created = at
    if key is not None:
        made.repeats = key
    return made


def told(limit: RepeatLimit, *records: logging.LogRecord) -> list[str]:
    return [made.getMessage() for made in records if limit.filter(made)]


def test_the_first_line_comes_at_once_and_the_others_are_counted() -> None:
    limit = RepeatLimit(10)
    assert told(limit, *(record(at) for at in (100, 100.1, 105, 109.9))) == ["disk 7 failed"]
    assert told(limit, record(110)) == ["disk 7 failed (and 3 more like it before)"]
    assert told(limit, record(111), record(121), record(140)) == [
        "disk 7 failed (and 1 more like it before)",
        "disk 7 failed",
    ]


def test_keys_are_counted_apart_and_lines_without_one_are_let_through() -> None:
    limit = RepeatLimit(10)
    lines = told(limit, record(1), record(1, key="other"), record(1), record(2, key=None), record(2, key=None))
    assert len(lines) == 4


def test_the_key_is_no_part_of_the_line() -> None:
    made = record(1)
    RepeatLimit().filter(made)
    assert not hasattr(made, "repeats")


def test_a_clock_that_was_set_back_silences_nobody() -> None:
    limit = RepeatLimit(10)
    assert len(told(limit, record(1000), record(5), record(6))) == 2


def test_it_remembers_no_more_than_256_keys() -> None:
    limit = RepeatLimit(10)
    assert len(told(limit, *(record(1, key=n) for n in range(300)))) == 300
    assert len(limit._seen) == 256
    assert told(limit, record(2, key=299)) == []
    assert len(told(limit, record(2, key=0))) == 1
