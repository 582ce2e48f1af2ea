"""How views say when: by the time of day, here or in UTC, or by seconds since the beginning.

Events and intervals have times of the server's monotonic clock. A server says at greeting, and a recording in its
header, what the time of day was at one time of that clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

_SECOND: Final = 1_000_000_000


class Times(Enum):
    """In which form people see times."""

    LOCAL = "local"
    UTC = "utc"
    RELATIVE = "relative"


class Clock:
    """Writes times: ``elapsed`` since tracing began and ``time`` of the server's monotonic clock, in nanoseconds."""

    def __init__(self, times: Times = Times.LOCAL) -> None:
        self.times = times
        self._offset: int | None = None
        """What turns the monotonic clock into nanoseconds since the epoch."""
        self._began = 0

    def begins(self, server: Mapping[str, Any], time: int) -> None:
        """Tracing began at ``time``; ``server`` has its two clocks, ``realtime`` and ``monotonic``, at one moment."""
        realtime, monotonic = server.get("realtime"), server.get("monotonic")
        if isinstance(realtime, int) and isinstance(monotonic, int):
            self._offset = realtime - monotonic
        self._began = time

    @property
    def of_day(self) -> bool:
        """Whether times of day are written: they are wanted, and it is known which."""
        return self.times is not Times.RELATIVE and self._offset is not None

    def after(self, elapsed: int, precise: bool = False) -> str:
        """When an interval ended, for the line above a report; to the millisecond if ``precise``."""
        if not self.of_day:
            return f"after {elapsed / _SECOND:.1f} s"
        return self._day(self._began + elapsed).isoformat(" ", "milliseconds" if precise else "seconds")

    def of_event(self, time: int) -> str:
        """``HH:MM:SS.ffffff``. Only if :attr:`of_day`."""
        return self._day(time).strftime("%H:%M:%S.%f")

    def exact(self, time: int) -> str:
        """The time of day for programs, as ISO 8601 with microseconds; "" if it is not :attr:`of_day`."""
        return self._day(time).isoformat(timespec="microseconds") if self.of_day else ""

    def exact_after(self, elapsed: int) -> str:
        """The same of the end of an interval."""
        return self.exact(self._began + elapsed)

    def _day(self, time: int) -> datetime:
        assert self._offset is not None
        return day(time + self._offset, self.times)


def day(nanoseconds: int, times: Times) -> datetime:
    """A time since the epoch, in UTC if that is wanted, else as it is here; with its distance from UTC."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    found = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return found if times is Times.UTC else found.astimezone()


def day_text(seconds: float, times: Times) -> str:
    """A time since the epoch, in seconds, for people: ``2026-11-27 03:38:47+00:00``."""
    return day(int(seconds * _SECOND), times).isoformat(" ", "seconds")
