"""Log lines: ``time level logger message key=value ...``, or one JSON object each."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TextIO

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the call gave as ``extra={...}``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _plain(value: object) -> str:
    """A value that is one word is written as it is, others as JSON writes them, so that a line stays one line."""
    text = str(value)
    if text and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    return json.dumps(text)


class TextFormatter(logging.Formatter):
    """Lines for people and grep. Control characters in messages, which may come from outside, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, one line; a traceback of a defect, ours or a plugin's, comes after it."""
        message = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in record.getMessage())
        parts = [_time(record), record.levelname.lower(), record.name, message]
        parts += [f"{name}={_plain(value)}" for name, value in _extra(record).items()]
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and what the call added."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, one line."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def set_up_logging(
    level: str, style: str, stream: TextIO | None = None,
    make_handler: Callable[[TextIO], logging.Handler] = logging.StreamHandler,
) -> None:  # fmt: skip
    """Send all log records from ``level`` up to ``stream`` (standard error), as ``text`` or ``json``."""
    # Where in the code a call stands, and in which thread and process, is in no line of ours, and to find that out is
    # half of what a call costs (the HOWTO of the logging module, "Optimization"). A login takes three.
    logging._srcfile = None  # type: ignore[assignment, unused-ignore]
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = make_handler(stream or sys.stderr or open(os.devnull, "w"))  # noqa: SIM115  (None where it was closed)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
