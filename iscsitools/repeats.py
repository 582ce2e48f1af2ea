"""Log lines that would come again and again: the first at once, then one in ten seconds with a count of the others.

A record that is made with ``extra={"repeats": KEY}`` counts among those of that key. The clock is the record's own
time, so that what logs needs none.
"""

from __future__ import annotations

import logging
from typing import Final

SECONDS: Final = 10.0
"""How long lines of one key are only counted after one was let through."""
_MOST_KEYS: Final = 256


class _Seen:
    """When a line of a key was last let through, and how many were kept back since."""

    __slots__ = ("kept_back", "last")

    def __init__(self, last: float) -> None:
        self.last = last
        self.kept_back = 0


class RepeatLimit(logging.Filter):
    """For ``Logger.addFilter`` of a module whose lines an initiator or a failing disk can cause at any rate.

    It keeps as many as 256 keys: the one that was let through the longest time ago goes first.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[object, _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record through, or count it."""
        key = vars(record).pop("repeats", None)
        if key is None:
            return True
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= _MOST_KEYS:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = _Seen(record.created)
            return True
        if 0 <= record.created - seen.last < self._seconds:
            seen.kept_back += 1
            return False
        if seen.kept_back:
            record.msg = f"{record.getMessage()} (and {seen.kept_back} more like it before)"
            record.args = ()
        del self._seen[key]
        self._seen[key] = _Seen(record.created)
        return True
