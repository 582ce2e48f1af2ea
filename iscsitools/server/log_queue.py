"""Log lines on their way to standard error: the event loop hands them over and never waits for who reads them.

Every log call of the server's process ends here. A thread formats and writes; between it and the callers is a bounded
queue. A terminal that was stopped, a full pipe or a slow disk behind standard error so costs lines, not service. One
cause (a logger and its message, without what is filled in) may write so many lines a second; how many were left out is
said in a line of its own, and so is how many did not fit into the queue. A cause that comes with each connection asks
(:func:`wanted`) before it makes a record.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

MOST_WAITING: Final = 4096
"""Lines that wait to be written; those beyond it are lost, and counted."""
MOST_OF_ONE_CAUSE: Final = 50
"""Lines a second."""
_SECOND: Final = 1.0
_PAUSE: Final = 0.02
"""Seconds that the thread sleeps when it has written all: woken for each line, it takes the interpreter from the loop
(as :class:`iscsitools.observers.Worker`)."""
_END_SECONDS: Final = 2.0
"""How long the end of the process waits for the last lines to be taken."""


class _Cause:
    """How often one cause has written in this second, and has been left out."""

    __slots__ = ("began", "left_out", "written")

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = 0
        self.left_out = 0


class LogQueue(logging.Handler):
    """Hands records to a thread that writes them to ``stream``. ``clock``: seconds, monotonic."""

    def __init__(
        self, stream: TextIO, per_second: int = MOST_OF_ONE_CAUSE, waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__()
        self._stream = stream
        self._per_second = per_second
        self._clock = clock
        self._queue: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._waiting = waiting
        self._counting = threading.Lock()
        """Held to count, never while anything is written."""
        self._causes: dict[tuple[str, str], _Cause] = {}
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record; never waits, also not for the lock that handlers hold while they write."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, unless its cause has written enough."""
        with self._counting:
            if self._admits(record) and not self._put(record):
                self._lost += 1

    def leaves_out(self, name: str, message: str) -> bool:
        """Whether a cause has written enough in this second; then this one more is counted, and needs no record."""
        with self._counting:
            cause = self._causes.get((name, message))
            full = cause is not None and cause.written >= self._per_second and self._clock() - cause.began < _SECOND
            if full and cause is not None:
                cause.left_out += 1
            return full

    def _admits(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        key = record.name, str(record.msg)
        cause = self._causes.get(key)
        if cause is None or now - cause.began >= _SECOND:
            self._say_left_out(now)
            cause = self._causes[key] = _Cause(now)
        if cause.written >= self._per_second:
            cause.left_out += 1
            return False
        cause.written += 1
        return True

    def _say_left_out(self, now: float) -> None:
        """Forget the causes whose second is over, with a line for those that wrote too much in it."""
        for key, cause in [(k, c) for k, c in self._causes.items() if now - c.began >= _SECOND]:
            del self._causes[key]
            if cause.left_out:
                self._put_note(key[0], f"{cause.left_out} more like this were left out: {key[1]}")

    def _put(self, record: logging.LogRecord) -> bool:
        """Queue a record while there is room: counted here, for the queue of C, which has no bound, costs a tenth."""
        fits = self._queue.qsize() < self._waiting
        if fits:
            self._queue.put(record)
        return fits

    def _put_note(self, logger: str, text: str) -> None:
        self._put(logging.LogRecord(logger, logging.WARNING, "", 0, text, None, None))

    def _write_all(self) -> None:
        while True:
            try:
                record = self._queue.get(timeout=_SECOND)
            except queue.Empty:
                with self._counting:
                    self._say_left_out(self._clock())
                continue
            if record is None:
                return
            self._write(record)
            if self._queue.empty():
                time.sleep(_PAUSE)
            with self._counting:
                lost, self._lost = self._lost, 0
            if lost:
                text = f"{lost} log lines were lost: standard error took none"
                self._write(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None))

    def _write(self, record: logging.LogRecord) -> None:
        # A standard error that is gone, or a record that cannot be formatted, must not end the thread.
        with suppress(Exception):
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Write what waits, as far as the stream takes it soon."""
        if self._thread.is_alive():
            with self._counting:
                self._say_left_out(float("inf"))
            self._queue.put(None)
            self._thread.join(_END_SECONDS)
        super().close()


def wanted(log: logging.Logger, level: int, message: str) -> bool:
    """Whether a line would be written: what is not is counted here, for a record takes a login as long as three PDUs.

    False only where nobody else would see the record: the one handler on the logger's way up is a :class:`LogQueue`.
    """
    if not log.isEnabledFor(level):
        return False
    name = log.name
    handlers: list[logging.Handler] = []
    way: logging.Logger | None = log
    while way is not None:
        handlers += way.handlers
        way = way.parent if way.propagate else None
    return not (len(handlers) == 1 and isinstance(handlers[0], LogQueue) and handlers[0].leaves_out(name, message))
