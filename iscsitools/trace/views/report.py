"""A report: its records for programs, its lines for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Final

from iscsitools.trace.views.width import LINE, columns_of, fill, fold, sentence

Record = Mapping[str, Any]


@dataclass(slots=True)
class Report:
    """What a view says at one time: ``rows`` of values for the ``names``, exact (bytes, nanoseconds) and plain.

    ``lines`` are the same for people.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]
    lines: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        """The rows, each as a mapping from name to value."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text: its heading, its least width (negative: to the left), and how a value is written."""

    heading: str
    width: int
    show: Callable[[Any], str] = str

    def cell(self, text: str) -> str:
        """``text`` in the column's width; a longer one is not cut."""
        return fill(text, -self.width) if self.width < 0 else f"{text:>{self.width}}"


INDENT: Final = "   "


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]], grow: bool = False) -> list[str]:
    """A heading and a line per row, after three blanks, as the D scripts print.

    Where a row is too long for a line, its first cell stands whole above it, once for the rows that follow each other
    with the same. With ``grow`` the first column gets as wide as its cells that leave room for the others.
    """
    names, rests = [], []
    for row in rows:
        name, *others = [column.show(value) for column, value in zip(columns, row, strict=True)]
        names.append(name)
        rests.append(_cells(columns[1:], others))
    first = columns[0]
    if grow:
        room = LINE - len(INDENT) - 1 - max(map(len, rests), default=0)
        widths = [width for width in map(columns_of, names) if width <= room]
        first = replace(first, width=-max([-first.width, *widths]))
    lines = [_beside(first, first.heading, _cells(columns[1:], [column.heading for column in columns[1:]]))]
    for name, group in groupby(zip(names, rests, strict=True), key=lambda pair: pair[0]):
        same = [rest for _, rest in group]
        beside = [_beside(first, name, rest) for rest in same]
        if max(map(columns_of, beside)) <= LINE:
            lines += beside
        else:
            lines += fold(name, INDENT)
            lines += [line for rest in same for line in _below(first, rest)]
    return lines


def _cells(columns: Sequence[Column], texts: Iterable[str]) -> str:
    return " ".join(column.cell(text) for column, text in zip(columns, texts, strict=True))


def _beside(first: Column, name: str, rest: str) -> str:
    return f"{INDENT}{first.cell(name)} {rest}".rstrip()


def _below(first: Column, rest: str) -> list[str]:
    """A row without its first cell: at its usual place, or where it has no room there, further to the left."""
    line = _beside(first, "", rest)
    if columns_of(line) <= LINE:
        return [line]
    rest = rest.strip()
    return [f"{rest:>{LINE}}"] if columns_of(rest) <= LINE else sentence(rest, INDENT, INDENT)


def as_json(report: Report, elapsed: int, clock: str = "") -> str:
    """One JSON object on one line. ``elapsed``: nanoseconds since tracing began; ``clock``: the time of day then."""
    records = [without_blanks(record) for record in report.records]
    return json.dumps({"elapsed": elapsed / 1e9, "clock": clock or None, "records": records})


def without_blanks(record: Record) -> dict[str, Any]:
    """A record with null, in JSON, for what is not there."""
    return {name: None if value == "" else value for name, value in record.items()}


def as_csv(rows: Iterable[Sequence[Any]]) -> str:
    """CSV rows, the names among them; "" for none. A list is written as its values, with blanks between them."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue().removesuffix("\n")


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def microseconds(nanoseconds: int) -> str:
    """A time as a table shows it: in microseconds, with a decimal while there is room."""
    us = nanoseconds / 1000
    return f"{us:.1f}" if us < 100_000 else f"{us:.0f}"
