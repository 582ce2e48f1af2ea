"""The two errors that a user sees as one line on standard error, and the exit status that each one carries."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """An error with a text for the user; ``lines`` are printed one by one, each behind ``iscsitools: ``."""

    exit_status = 1

    def __init__(self, message: str, more: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.lines = (message, *more)


class UsageError(UserError):
    """What was asked for makes no sense: a bad option, a bad configuration file. Exit status 2."""

    exit_status = 2


class RunError(UserError):
    """It made sense and failed: port in use, file not readable, server not running. Exit status 1."""
