"""Where each key of a TOML document stands, for messages; ``tomllib`` tells the values only.

:func:`positions` reads a text that ``tomllib`` has accepted already, so it need not judge anything: it walks over
keys, headers and values and notes the line on which each began.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Keys and indices from the top of the document: ``("target", 0, "iqn")``."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def positions(text: str) -> dict[Path, int]:
    """Map the path of every key, table and array element of a valid TOML document to its line, from 1."""
    return _Scanner(text).scan()


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of ``path``, or of the nearest table around it; 1 for the document itself."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def dotted(path: Path) -> str:
    """A path as people write it: ``target[0].lun[1].size``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + part
    return text


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [m.start() for m in re.finditer("\n", text)]
        self._lines: dict[Path, int] = {}
        self._array_lengths: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._key_value(table)
            self._skip_blank()
        return self._lines

    def _skip_blank(self) -> None:
        match = _BLANK.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _take(self, literal: str) -> bool:
        """Step over ``literal`` and the blanks before it, if it comes next."""
        self._skip_blank()
        if self._text.startswith(literal, self._at):
            self._at += len(literal)
            return True
        return False

    def _note(self, path: Path, at: int) -> None:
        self._lines.setdefault(path, bisect_right(self._newlines, at) + 1)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip_blank()
            if match := _STRING.match(self._text, self._at):
                parts.append(tomllib.loads(f"key = {match[0]}")["key"])
            else:
                match = _BARE_KEY.match(self._text, self._at)
                assert match is not None
                parts.append(match[0])
            self._at = match.end()
            if not self._take("."):
                return parts

    def _header(self) -> Path:
        start = self._at
        self._at += 1
        is_array = self._text.startswith("[", self._at)
        if is_array:
            self._at += 1
        parts = self._key()
        self._take("]]" if is_array else "]")
        path: Path = ()
        for n, part in enumerate(parts, 1):
            path = (*path, part)
            self._note(path, start)
            if is_array and n == len(parts):
                self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            if path in self._array_lengths:
                path = (*path, self._array_lengths[path] - 1)
                self._note(path, start)
        return path

    def _key_value(self, table: Path) -> None:
        start = self._at
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path, start)
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        self._note(path, self._at)
        if self._take("["):
            self._elements(path)
        elif self._take("{"):
            self._members(path)
        else:
            match = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            assert match is not None
            self._at = match.end()

    def _elements(self, path: Path) -> None:
        index = 0
        while not self._take("]"):
            self._value((*path, index))
            index += 1
            self._take(",")

    def _members(self, path: Path) -> None:
        while not self._take("}"):
            self._key_value(path)
            self._take(",")
