"""The store's tables: three levels of one form, finest first, and what each keeps for how long."""

from __future__ import annotations

from typing import Final, NamedTuple

from iscsitools_analytics.tally import HISTOGRAMS, NUMBERS

VERSION: Final = 2
"""Of the file's form, in ``PRAGMA user_version``."""


class Level(NamedTuple):
    """A table: ``step`` seconds a row, kept for ``age`` seconds."""

    table: str
    step: int
    age: int


LEVELS: Final = (
    Level("second", 1, 3600),
    Level("minute", 60, 7 * 86400),
    Level("hour", 3600, 366 * 86400),
)
BLOBS: Final = ("errors", *HISTOGRAMS)
COLUMNS: Final = (*NUMBERS, *BLOBS)


NEW: Final = ("phased", "backstore_sum", "waiting_sum", "sending_sum")
"""Numbers that a file of version 1 has not."""


def renewal() -> str:
    """What makes a file of version 1 one of this version."""
    added = (
        f"ALTER TABLE {level.table} ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0;" for level in LEVELS for name in NEW
    )
    return "BEGIN;" + "\n".join(added) + f"PRAGMA user_version = {VERSION};COMMIT;"


def statements() -> str:
    """What makes an empty file a store."""
    numbers = ", ".join(f"{name} INTEGER NOT NULL" for name in NUMBERS)
    blobs = ", ".join(f"{name} BLOB" for name in BLOBS)
    tables = "".join(
        f"CREATE TABLE {level.table} (t INTEGER, series INTEGER, {numbers}, {blobs}, "
        "PRIMARY KEY (series, t)) WITHOUT ROWID;\n"
        for level in LEVELS
    )
    return (
        "CREATE TABLE series (id INTEGER PRIMARY KEY, server TEXT, client TEXT, initiator TEXT, target TEXT, lun TEXT, "
        "command TEXT, UNIQUE (server, client, initiator, target, lun, command));\n"
        "CREATE TABLE watched (server TEXT, begin INTEGER, end INTEGER, PRIMARY KEY (server, begin)) WITHOUT ROWID;\n"
        "CREATE TABLE summed (level TEXT PRIMARY KEY, until INTEGER);\n"
        "CREATE TABLE dropped (level TEXT PRIMARY KEY, until INTEGER);\n"
        f"{tables}PRAGMA user_version = {VERSION};\n"
    )
