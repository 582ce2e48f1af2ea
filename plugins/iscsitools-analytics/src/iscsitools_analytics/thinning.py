"""How the history stays small: minutes are added up from seconds, hours from minutes, and what is old is dropped."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import Final

from iscsitools_analytics.rows import drop_before, first_value, newest_of, oldest_of, put, rows_within, tally_in
from iscsitools_analytics.schema import COLUMNS, LEVELS, Level
from iscsitools_analytics.tally import Tally

_STEPS: Final = 200
"""When the file is full, this part of a level is dropped at a time."""
_LATE: Final = 5
"""Seconds for which an answer may come later than that of another server."""


def thin(db: sqlite3.Connection, now: int, size: int) -> set[int]:
    """Add up what is over, and drop what is too old, or too much for a file of ``size`` bytes.

    Returns the numbers of the series of which nothing is left.
    """
    gone: set[int] = set()
    for finer, coarser in pairwise(LEVELS):
        until = (now - _LATE) // coarser.step * coarser.step
        done = _summed(db, finer, coarser)
        if done is None or done >= until:
            continue
        while done < until:
            _sum_up(db, finer, coarser, done)
            done += coarser.step
            oldest = oldest_of(db, finer, done)
            # Nothing happened in between: the next that has anything.
            done = until if oldest is None else max(done, min(until, oldest // coarser.step * coarser.step))
        db.execute("INSERT OR REPLACE INTO summed VALUES (?, ?)", (coarser.table, until))
        gone |= _age(db, now)
    drop_before(db, LEVELS[0], now - LEVELS[0].age)
    _shrink(db, size)
    return gone


def _summed(db: sqlite3.Connection, finer: Level, coarser: Level) -> int | None:
    """Until when a level is complete; at first until where the finer one begins; None: there is nothing."""
    until: int | None = first_value(db, "SELECT until FROM summed WHERE level = ?", coarser.table)
    if until is None:
        begin = oldest_of(db, finer)
        until = None if begin is None else begin // coarser.step * coarser.step
    return until


def _sum_up(db: sqlite3.Connection, finer: Level, coarser: Level, t: int) -> None:
    added: dict[int, Tally] = {}
    for series, *row in db.execute(
        f"SELECT x.series, {', '.join(COLUMNS)} FROM {rows_within(finer)}", (t, t + coarser.step)
    ):
        tally = tally_in(row)
        if series in added:
            added[series].add(tally)
        else:
            added[series] = tally
    for series, tally in added.items():
        put(db, coarser, t, series, tally)


def _age(db: sqlite3.Connection, now: int) -> set[int]:
    for level in LEVELS[1:]:
        drop_before(db, level, now - level.age)
    db.execute("DELETE FROM watched WHERE end < ?", (now - LEVELS[-1].age,))
    used = " UNION ".join(f"SELECT series FROM {level.table}" for level in LEVELS)
    gone = db.execute(f"DELETE FROM series WHERE id NOT IN ({used}) RETURNING id").fetchall()
    return {number for (number,) in gone}


def _shrink(db: sqlite3.Connection, size: int) -> None:
    """Drop the oldest of the finest level that has more than its newest step, until the file has room again.

    Pages that are free are used again, so that the file does not grow; a little is kept free for the next rows.
    """
    page = first_value(db, "PRAGMA page_size") or 4096
    for level in LEVELS:
        while (first_value(db, "PRAGMA page_count") or 0) - (first_value(db, "PRAGMA freelist_count") or 0) > (
            size * 9 // 10 // page
        ):
            first, last = oldest_of(db, level), newest_of(db, level)
            if first is None or last is None or first == last:
                break
            until = min(first + max(level.step, (last - first) // _STEPS), last)
            drop_before(db, level, until)
            db.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?)", (level.table, until))
