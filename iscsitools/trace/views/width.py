"""Text in the columns of a terminal: how many it takes, and how a long one is shortened, folded or filled up.

What people are shown fits :data:`LINE` columns. A name that has a line of its own is folded and stays whole; one that
shares its line is shortened. JSON and CSV know nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from textwrap import wrap
from typing import Final
from unicodedata import east_asian_width

LINE: Final = 80
"""The columns of a line."""
MARK: Final = ".."
"""Stands where something was left out; ASCII, which every terminal and every encoding of a pipe has."""


def columns_of(text: str) -> int:
    """The columns that ``text`` takes at most: two for a wide character (UAX 11), else one."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    return 2 if east_asian_width(character) in ("W", "F") else 1


def shorten(text: str, width: int, keep: str = "end") -> str:
    """``text`` in at most ``width`` columns: of a longer one its end, or with ``keep`` "start" its beginning.

    Names and addresses differ at their end more often than at their beginning.
    """
    if columns_of(text) <= width:
        return text
    if width <= len(MARK):
        return MARK[: max(width, 0)]
    room = width - len(MARK)
    if keep == "start":
        return text[: _fitting(text, room)] + MARK
    return MARK + text[len(text) - _fitting(text[::-1], room) :]


def _fitting(text: str, width: int) -> int:
    """How many of the first characters fit ``width`` columns."""
    if text.isascii():
        return min(len(text), width)
    return sum(total <= width for total in accumulate(map(_columns, text)))


def fill(text: str, width: int) -> str:
    """``text`` at the left of ``width`` columns; a longer one as it is."""
    return text + " " * (width - columns_of(text))


def fold(text: str, indent: str) -> Iterator[str]:
    """``text`` whole, in lines of at most :data:`LINE` columns after ``indent``; from the second on 2 blanks deeper."""
    more = indent + "  "
    while text:
        count = _fitting(text, LINE - len(indent))
        yield indent + text[:count]
        text, indent = text[count:], more


def sentence(text: str, indent: str = "", more: str = "    ") -> list[str]:
    """``text`` in lines of at most :data:`LINE` columns, parted at blanks, where a word is not longer than a line.

    With wide characters, which ``wrap`` does not know, it is parted where a line is full.
    """
    if columns_of(text) > len(text):
        return list(fold(text, indent))
    return wrap(text, LINE, initial_indent=indent, subsequent_indent=more, break_on_hyphens=False)
