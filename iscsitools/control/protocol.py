"""The control protocol: its version, its requests with their fields, and the check of what came.

It is spoken on a server's control socket beside the trace's requests (docs/control.md describes each message).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from iscsitools.errors import UserError

VERSION: Final = 1
HEARTBEAT: Final = 1.0
"""Seconds between two messages of progress; a client that hears nothing for ten times as long gives up."""


class Code(StrEnum):
    """Why a request was not done; ``code`` of an error."""

    REQUEST = "request"
    """The request makes no sense: an unknown field, a value of the wrong type."""
    CONFIGURATION = "configuration"
    """The configuration has problems; ``lines`` names each."""
    RESTART = "restart"
    """Something in it can only change with a restart."""
    IN_USE = "in-use"
    """What would be taken away is in use; ``lines`` says by whom."""
    CHANGED = "changed"
    """Somebody else has changed the configuration since; ``lines`` says what."""
    FAILED = "failed"
    """It was begun and failed; ``lines`` says what had been done."""
    NOT_FOUND = "not-found"
    """There is no such target, LUN or filter."""


class ControlError(UserError):
    """A request was not done. ``code`` says why, for programs; ``lines`` for people."""

    def __init__(self, code: Code, *lines: str) -> None:
        super().__init__(lines[0], lines[1:])
        self.code = code
        self.exit_status = 2 if code in (Code.REQUEST, Code.CONFIGURATION) else 1


class InUse(StrEnum):
    """What to do with what would be taken away while sessions use it."""

    REFUSE = "refuse"
    DRAIN = "drain"
    """Wait until nobody uses it."""
    FORCE = "force"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request: the JSON types that it may have, and whether it has to be there."""

    types: tuple[type, ...]
    required: bool = False
    words: tuple[str, ...] = ()


_TEXT: Final = Field((str,))
_NAME: Final = Field((str,), required=True)
_LUN: Final = Field((int,), required=True)
_FLAG: Final = Field((bool,))
_NUMBER: Final = Field((int, float))

REQUESTS: Final[Mapping[str, Mapping[str, Field]]] = {
    "get": {},
    "apply": {
        "document": Field((dict,)),
        "toml": _TEXT,
        "file": _TEXT,
        "generation": Field((int,)),
        "dry_run": _FLAG,
        "in_use": Field((str,), words=tuple(InUse)),
    },
    "takeover": {"socket": _NAME},
    "tree": {},
    "health": {},
    "faults": {},
    "fault-set": {
        "target": _NAME,
        "lun": _LUN,
        "values": Field((dict,), required=True),
        "client": _TEXT,
        "seconds": _NUMBER,
    },
    "fault-clear": {"target": _NAME, "lun": _LUN, "names": Field((list,)), "client": _TEXT},
    "power-cut": {
        "target": _TEXT,
        "lun": Field((int,)),
        "drop": _NUMBER,
        "torn": _FLAG,
        "seed": Field((int,)),
    },
}
"""Every request with its fields, beside ``request`` and ``version``."""


def check(message: Mapping[str, Any]) -> None:
    """Check a request by the table. Raises ControlError naming the field."""
    name = message["request"]
    fields = REQUESTS[name]
    version = message.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ControlError(Code.REQUEST, f"version of {name} is not {VERSION}, which this server speaks")
    for key, value in message.items():
        if key in ("request", "version"):
            continue
        field = fields.get(key)
        if field is None:
            raise ControlError(Code.REQUEST, f"unknown field {key!r} of {name}{_suggestion(key, fields)}")
        if value is not None and not _fits(field, value):
            raise ControlError(Code.REQUEST, f"{key} of {name} is not {_expected(field)}")
    for key, field in fields.items():
        if field.required and message.get(key) is None:
            raise ControlError(Code.REQUEST, f"{name} needs the field {key!r}")


def _fits(field: Field, value: object) -> bool:
    if isinstance(value, bool) and bool not in field.types:
        return False
    if float in field.types and not _is_finite(value):
        return False
    return isinstance(value, field.types) and (not field.words or value in field.words)


def _is_finite(value: object) -> bool:
    """Whether it is a number that a double has: JSON's may be longer, and Python takes NaN and Infinity for JSON."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def _expected(field: Field) -> str:
    if field.words:
        return f"one of {', '.join(field.words)}"
    words = {str: "a text", int: "a whole number", bool: "true or false", dict: "an object", list: "an array"}
    return "a number" if float in field.types else words[field.types[0]]


def _suggestion(word: str, known: Mapping[str, Field]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"
