"""Parsers for option values: text in, a typed value out, ValueError with the reason otherwise.

Each one is meant for :attr:`iscsitools.backstores.base.Option.parse`; the listings show its ``__name__`` for the value,
in capitals, or as it is where it lists the words themselves.
"""

from __future__ import annotations

import errno as errno_module
import os
import re
from collections.abc import Callable
from typing import Final, NamedTuple

_SIZE = re.compile(r"([0-9]+)([KMGTP]?)(?:iB|B)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m)")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_YES: Final = frozenset({"yes", "true", "on", "1"})
_NO: Final = frozenset({"no", "false", "off", "0"})
MAX_SIZE: Final = 1 << 62
"""Bytes that a disk can have at most."""
_LONGEST: Final = 86400.0


class ByteRange(NamedTuple):
    """``length`` bytes from ``offset`` on."""

    offset: int
    length: int

    def overlap(self, offset: int, length: int) -> int | None:
        """The first byte that both ranges have, or None."""
        first = max(self.offset, offset)
        return first if first < min(self.offset + self.length, offset + length) else None


def size(text: str) -> int:
    """Read a number of bytes: ``4096``, ``64M``, ``1G``; K, M, G, T and P are powers of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size: write a whole number of bytes, or one with K, M, G, T or P as in 64M")
    value = int(match[1]) << 10 * ("KMGTP".index(match[2].upper()) + 1 if match[2] else 0)
    if value > MAX_SIZE:
        raise ValueError(f"{text!r} is more than a disk can have")
    return value


def duration(text: str) -> float:
    """Read a time in seconds, a day at most: ``200us``, ``5ms``, ``1.5s``, ``2m``; a bare ``0`` needs no unit."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number with us, ms, s or m as in 5ms")
    value = float(match[1]) * _UNITS[match[2]]
    if value > _LONGEST:
        raise ValueError(f"{text!r} is more than a day")
    return value


def yes_no(text: str) -> bool:
    """Read ``yes`` or ``no`` (also true and false, on and off, 1 and 0)."""
    word = text.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


def _ascii(text: str) -> str:
    """The text, if Python's own parsers find no digits of other scripts in it: who writes those means another thing."""
    if not text.isascii():
        raise ValueError(text)
    return text


def integer(text: str) -> int:
    """Read a whole number, decimal or with 0x."""
    try:
        return int(_ascii(text), 0)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None


def fraction(text: str) -> float:
    """Read a share of one: ``0.1`` or ``10%``."""
    try:
        value = float(_ascii(text[:-1])) / 100 if text.endswith("%") else float(_ascii(text))
    except ValueError:
        raise ValueError(f"{text!r} is no fraction: write 0.1 or 10%") from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{text!r} is not between 0 and 1")
    return value


def path(text: str) -> str:
    """Read a path; ``~`` at its beginning stands for the home directory."""
    if not text:
        raise ValueError("a path is needed")
    if "\0" in text:
        raise ValueError("a path cannot contain a null character")
    return os.path.expanduser(text)


def text(text: str) -> str:
    """Take the text as it is."""
    return text


def byte_ranges(text: str) -> tuple[ByteRange, ...]:
    """Read ranges of bytes as ``OFFSET+LENGTH``, several of them with ``/`` in between: ``1M+4K/8M+512``."""
    ranges = []
    for part in text.split("/"):
        offset, plus, length = part.partition("+")
        if not plus:
            raise ValueError(f"{part!r} is no range: write OFFSET+LENGTH as in 1M+4K")
        ranges.append(ByteRange(size(offset), size(length)))
        if not ranges[-1].length:
            raise ValueError(f"{part!r} is a range of no bytes")
    return tuple(ranges)


def errno(text: str) -> int:
    """Read the name of an error of the system, as ``EIO`` or ``ENOSPC``."""
    value = getattr(errno_module, text.upper(), None)
    if not isinstance(value, int):
        raise ValueError(f"{text!r} is no error of this system: write its name as in EIO or ENOSPC")
    return value


def choice(*words: str) -> Callable[[str], str]:
    """Make a parser that takes one of ``words``."""

    def one_of(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    one_of.__name__ = "|".join(words)
    return one_of


def positive(parse: Callable[[str], int]) -> Callable[[str], int]:
    """Make a parser of a number of ``parse`` that must be at least 1."""

    def more_than_zero(text: str) -> int:
        value = parse(text)
        if value < 1:
            raise ValueError(f"{text!r} is not more than 0")
        return value

    more_than_zero.__name__ = getattr(parse, "__name__", "number")
    return more_than_zero
