"""Reads a D program as far as its clauses: where probe descriptions stand, and what a clause reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_QUIET: Final = re.compile(r"/\*.*?(?:\*/|\Z)|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|^#[^\n]*", re.S | re.M)
_DESCRIPTION: Final = re.compile(
    r"(?<![\w$*?\]-])(?P<provider>iscsi[\w*?$\[\]-]*):([^:,{\s]*):([^:,{\s]*):([\w*?\[\]!-]*)"
)
_OURS: Final = re.compile(r"iscsi(?:\$target|\d+|\d*[*?\[].*)?")


class Description(NamedTuple):
    """A probe description of the iscsi provider, ``provider:module:function:name``, and where it stands."""

    provider: str
    module: str
    function: str
    name: str
    start: int
    end: int


class Clause(NamedTuple):
    """A clause that has probes of the iscsi provider. ``start`` to ``end``: its predicate and its statements."""

    descriptions: tuple[Description, ...]
    start: int
    end: int


def code_of(text: str) -> str:
    """The program with blanks in the place of comments, strings and preprocessor lines; every place stays the same."""
    return _QUIET.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def clauses(code: str) -> Iterator[Clause]:
    """The clauses with probes of the iscsi provider, of what :func:`code_of` returned."""
    for start, brace, end in _outermost(code):
        # What is between the descriptions and the statements is the predicate, which begins with a slash.
        slash = code.find("/", start, brace)
        head = slash if slash >= 0 else brace
        found = tuple(_descriptions(code, start, head))
        if found:
            yield Clause(found, head, end)


def _outermost(code: str) -> Iterator[tuple[int, int, int]]:
    """Of each clause or declaration: its beginning, its first brace (or its end) and its end."""
    start = depth = 0
    brace = -1
    for match in re.finditer(r"[{};]", code):
        if match[0] == "{":
            brace = brace if depth else match.start()
            depth += 1
            continue
        if match[0] == "}":
            depth = max(0, depth - 1)
        if not depth:
            yield start, brace if brace >= start else match.start(), match.end()
            start = match.end()
            brace = -1
    yield start, brace if brace >= start else len(code), len(code)


def _descriptions(code: str, start: int, end: int) -> Iterator[Description]:
    for match in _DESCRIPTION.finditer(code, start, end):
        if _OURS.fullmatch(match["provider"]):
            provider, module, function, name = match.groups()
            yield Description(provider, module, function, name, *match.span())
