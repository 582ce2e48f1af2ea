"""The history: one SQLite file, which is written each second, thins out as it ages, and stays under its size.

What was committed outlives a kill -9 (write-ahead log); a loss of power may cost the last seconds. A minute is added up
from the seconds in the file when it is over, an hour from the minutes, so that nothing is kept in memory for that, and
whoever starts after a kill goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from iscsitools_analytics import schema
from iscsitools_analytics.rows import fill_in, first_value, put
from iscsitools_analytics.schema import BLOBS, LEVELS, Level
from iscsitools_analytics.series import Series
from iscsitools_analytics.tally import NUMBERS, Tally
from iscsitools_analytics.thinning import thin

LEAST_SIZE: Final = 4 << 20
"""Bytes below which no history fits."""


class StoreError(Exception):
    """The file cannot be used; the text is one line for the user."""


class Store:
    """The one writer of a file, and its readers; every method may be called from any thread. Raises StoreError."""

    def __init__(self, path: str | Path, size: int = 200 << 20) -> None:
        self.path = os.fspath(path)
        self._size = max(size, LEAST_SIZE)
        self._writing = threading.Lock()
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._ids: dict[Series, int] = {}
        self._spans: dict[str, list[int]] = {}
        self._doubtful = False
        """Whether a transaction failed since these two were read."""
        with self._told():
            # A file is one process's: two that add the same servers up would count everything twice.
            self._lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise StoreError(f"{self.path}: in use by another iscsitools analytics") from None
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
        with suppress(FileExistsError):  # it names initiators, which are nobody else's business
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        db = self._db
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            db.executescript(schema.statements())
        elif version == 1:
            db.executescript(schema.renewal())
        elif version != schema.VERSION:
            raise StoreError(f"{self.path}: not a history of this version")
        self._recall(db)

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection of the thread that asks."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            # Closed by whichever thread ends the store.
            db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._all.append(db)  # before the first question, which fails where the file is no database
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA journal_size_limit = 4194304")
            self._local.db = db
        return db

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told(), self._writing:
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            try:
                if self._doubtful:
                    self._recall(db)
                yield db
                # Where a full disk is noticed, and a failure that has ended the transaction by itself.
                db.execute("COMMIT")
            except BaseException:
                self._doubtful = True
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _recall(self, db: sqlite3.Connection) -> None:
        """Have what is known of the file by heart be what is in it."""
        self._ids = {Series(*texts): number for number, *texts in db.execute("SELECT * FROM series")}
        found = db.execute("SELECT server, max(begin), end FROM watched GROUP BY server")
        self._spans = {server: [begin, end] for server, begin, end in found}
        self._doubtful = False

    def add(self, server: str, t: int, tallies: Mapping[Series, Tally], since: int | None = None) -> None:
        """Keep what a server counted in the second that begins at ``t``, or from ``since`` on; then thin out.

        A second that is there already (the clock was set back) is added to.
        """
        with self._transaction() as db:
            self._watched(db, server, t if since is None else since, t + 1)
            for series, tally in tallies.items():
                put(db, LEVELS[0], t, self._id(db, series), tally)
            gone = thin(db, t, self._size)
            if gone:
                self._ids = {series: number for series, number in self._ids.items() if number not in gone}

    def _id(self, db: sqlite3.Connection, series: Series) -> int:
        number = self._ids.get(series)
        if number is None:
            added = db.execute(
                "INSERT INTO series (server, client, initiator, target, lun, command) VALUES (?, ?, ?, ?, ?, ?)", series
            )
            number = self._ids[series] = int(added.lastrowid or 0)
        return number

    def _watched(self, db: sqlite3.Connection, server: str, begin: int, end: int) -> None:
        span = self._spans.get(server)
        if span is None or not span[0] <= begin <= span[1]:
            self._spans[server] = [begin, end]
        elif end > span[1]:
            span[1] = end
        db.execute("INSERT OR REPLACE INTO watched VALUES (?, ?, ?)", (server, *self._spans[server]))

    def seen(self) -> dict[str, list[tuple[int, int]]]:
        """When each server was watched: beginnings and ends, seconds since 1970, oldest first."""
        spans: dict[str, list[tuple[int, int]]] = {}
        with self._told():
            for server, begin, end in self._db.execute("SELECT server, begin, end FROM watched ORDER BY begin"):
                spans.setdefault(server, []).append((begin, end))
        return spans

    def series(self) -> dict[int, Series]:
        """All series that the history knows, by number."""
        with self._told():
            return {number: Series(*texts) for number, *texts in self._db.execute("SELECT * FROM series")}

    def level_at(self, t: int) -> int:
        """The finest step, in seconds, that is kept of the time ``t`` and all after it."""
        latest = max((end for _, end in list(self._spans.values())), default=t)
        with self._told():
            for level in LEVELS[:-1]:
                dropped = first_value(self._db, "SELECT until FROM dropped WHERE level = ?", level.table) or 0
                if t >= latest - level.age and t >= dropped:
                    return level.step
        return LEVELS[-1].step

    def read(
        self, begin: int, end: int, step: int, wanted: Iterable[int], blobs: Iterable[str]
    ) -> Iterator[tuple[int, int, Tally]]:
        """The counts of the series ``wanted`` in a span of time: (column, series, counts) for each ``step`` seconds.

        ``begin`` is a multiple of ``step``. Without ``blobs`` (names of histograms, or ``errors``) the database adds
        up, and there is one piece for a column and series; with them there may be several.
        """
        numbers = sorted(wanted)
        pieces = list(self._pieces(begin, end, step))
        chosen: list[str] = [name for name in BLOBS if name in set(blobs)]
        for level, first, last in pieces:
            yield from self._rows(level, first, last, begin, step, numbers, chosen)

    def _pieces(self, begin: int, end: int, step: int) -> Iterator[tuple[Level, int, int]]:
        """Which level has which part of a span: the coarsest that fits the step, up to where it is complete."""
        with self._told():
            until = {level.table: first_value(self._db, "SELECT until FROM summed WHERE level = ?", level.table)
                     for level in LEVELS}  # fmt: skip
        for level in reversed(LEVELS):
            if level.step > step:
                continue
            last = end if level is LEVELS[0] else min(end, until[level.table] or 0)
            if begin < last:
                yield level, begin, last
                begin = last

    def _rows(
        self, level: Level, first: int, last: int, begin: int, step: int, numbers: list[int], blobs: list[str]
    ) -> Iterator[tuple[int, int, Tally]]:
        column = f"(t - {begin}) / {step}"
        marks = ", ".join(map(str, numbers))
        where = f"FROM {level.table} WHERE series IN ({marks}) AND t >= ? AND t < ?"
        with self._told():
            if not blobs:
                added = ", ".join(f"max({name})" if name == "maximum" else f"sum({name})" for name in NUMBERS)
                rows = self._db.execute(
                    f"SELECT {column} AS c, series, {added} {where} GROUP BY c, series", (first, last)
                )
            else:
                rows = self._db.execute(
                    f"SELECT {column}, series, {', '.join((*NUMBERS, *blobs))} {where}", (first, last)
                )
            for place, series, *values in rows:
                counts = values[: len(NUMBERS)]
                yield place, series, fill_in(Tally(*counts), dict(zip(blobs, values[len(NUMBERS) :], strict=True)))

    def size(self) -> int:
        """Bytes of the file, without its log."""
        with self._told():
            return os.stat(self.path).st_size

    def close(self) -> None:
        """Close the file; nobody uses the store any more."""
        for db in self._all:
            with suppress(sqlite3.Error):
                db.close()
        os.close(self._lock)
