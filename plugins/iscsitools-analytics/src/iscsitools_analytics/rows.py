"""Rows of the history's tables: how they are found, dropped and written, and what counts are in one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from iscsitools_analytics.schema import BLOBS, COLUMNS, Level
from iscsitools_analytics.tally import NUMBERS, Tally, pack, unpack


def first_value(db: sqlite3.Connection, question: str, *values: Any) -> Any:
    """The first column of the first row that answers; None: there is none."""
    row = db.execute(question, values).fetchone()
    return None if row is None else row[0]


def rows_within(level: Level) -> str:
    """The rows from one time to before another, found by the table's key, which begins with the series."""
    table = level.table
    return f"series AS s CROSS JOIN {table} AS x ON x.series = s.id AND x.t >= ? AND x.t < ?"


def oldest_of(db: sqlite3.Connection, level: Level, after: int = 0) -> int | None:
    """The first time that a level has, from ``after`` on; None: it has none."""
    found: int | None = first_value(
        db, f"SELECT min((SELECT min(t) FROM {level.table} WHERE series = s.id AND t >= ?)) FROM series AS s", after
    )
    return found


def newest_of(db: sqlite3.Connection, level: Level) -> int | None:
    """The last time that a level has; None: it has none."""
    found: int | None = first_value(
        db, f"SELECT max((SELECT max(t) FROM {level.table} WHERE series = s.id)) FROM series AS s"
    )
    return found


def drop_before(db: sqlite3.Connection, level: Level, before: int) -> None:
    """Drop what is older."""
    for (series,) in db.execute("SELECT id FROM series").fetchall():
        db.execute(f"DELETE FROM {level.table} WHERE series = ? AND t < ?", (series, before))


def put(db: sqlite3.Connection, level: Level, t: int, series: int, tally: Tally) -> None:
    """Write a series' counts of a step down, or add them to what is there."""
    marks = ", ".join("?" * (2 + len(COLUMNS)))
    into = f"INTO {level.table} (t, series, {', '.join(COLUMNS)}) VALUES ({marks})"
    try:
        db.execute(f"INSERT {into}", (t, series, *row_of(tally)))
    except sqlite3.IntegrityError:
        there = db.execute(f"SELECT {', '.join(COLUMNS)} FROM {level.table} WHERE series = ? AND t = ?", (series, t))
        both = tally_in(there.fetchone())
        both.add(tally)
        db.execute(f"REPLACE {into}", (t, series, *row_of(both)))


def row_of(tally: Tally) -> list[Any]:
    """The columns' values."""
    packed: Callable[[str], bytes | None] = lambda name: (  # noqa: E731
        pack(tally.histograms[name].counts, tally.histograms[name].width) if name in tally.histograms else None
    )
    errors = pack(tally.errors) if tally.errors else None
    return [*(getattr(tally, name) for name in NUMBERS), errors, *map(packed, BLOBS[1:])]


def tally_in(row: list[Any]) -> Tally:
    """The counts of a row of all columns."""
    return fill_in(Tally(*row[: len(NUMBERS)]), dict(zip(BLOBS, row[len(NUMBERS) :], strict=True)))


def fill_in(tally: Tally, blobs: Mapping[str, bytes | None]) -> Tally:
    """The counts with their histograms and errors, of packed columns by name. Raises DatabaseError."""
    try:
        for name, data in blobs.items():
            if data is None:
                continue
            if name == "errors":
                tally.errors = unpack(data).counts
            else:
                tally.histograms[name] = unpack(data)
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from None
    return tally
