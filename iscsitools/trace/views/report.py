"""A report: its records for programs, its lines for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Record = Mapping[str, Any]


@dataclass(slots=True)
class Report:
    """What a view says at one time.

    ``records`` have all the same keys; their values are exact (bytes, nanoseconds) and plain. ``lines`` are the same
    for people.
    """

    records: list[Record]
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text: its heading, its least width (negative: to the left), and how a value is written."""

    heading: str
    width: int
    show: Callable[[Any], str] = str

    def cell(self, text: str) -> str:
        """``text`` in the column's width; a longer one widens its row and is never cut."""
        return f"{text:<{-self.width}}" if self.width < 0 else f"{text:>{self.width}}"


INDENT: Final = "   "


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A heading and a line per row, after three blanks, as the D scripts print."""
    lines = [INDENT + " ".join(c.cell(c.heading) for c in columns).rstrip()]
    for row in rows:
        lines.append(INDENT + " ".join(c.cell(c.show(v)) for c, v in zip(columns, row, strict=True)).rstrip())
    return lines


def as_json(report: Report, elapsed: int) -> str:
    """One JSON object on one line. ``elapsed``: nanoseconds since tracing began."""
    return json.dumps({"elapsed": elapsed / 1e9, "records": list(report.records)})


def as_csv(records: Sequence[Record], header: bool) -> str:
    """CSV rows, with ``header`` after a line of names. "" when there is no record."""
    if not records:
        return ""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(list(records[0]))
    for record in records:
        writer.writerow([_plain(value) for value in record.values()])
    return out.getvalue().removesuffix("\n")


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def lun_text(lun: int) -> str:
    """A unit number; a LUN field that names no unit in hexadecimal as it was sent, without its zeros at the end.

    A unit number has at most 14 bits (SAM-5 4.7): REPORT LUNS's well known unit is ``0xc101``.
    """
    if lun < 1 << 14:
        return str(lun)
    field = f"{lun:016x}"
    while field.endswith("0000"):
        field = field[:-4]
    return f"0x{field}"


def microseconds(nanoseconds: int) -> str:
    """A time as a table shows it: in microseconds, with a decimal while there is room."""
    us = nanoseconds / 1000
    return f"{us:.1f}" if us < 100_000 else f"{us:.0f}"
