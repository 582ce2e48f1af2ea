"""What the commands print: tables, JSON, sizes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from textwrap import wrap
from typing import Any, Final

import click
from tabulate import tabulate


def json_option(command: Any) -> Any:
    """Give a command ``--json``, as the parameter ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def echo_json(value: object) -> None:
    """Print ``value`` as JSON, indented for a person if a person reads it."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


_WIDTH: Final = 80
_GAP: Final = 2
_HEAD: Final = 2
"""What tabulate puts between columns, and adds to the width of their headers."""
_NARROWEST: Final = 24
NO_BREAK: Final = "\ue000"
"""Printed as a space, where a wrapped table must not break a line nor drop one at the begin."""


def echo_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table without lines; texts stay as they are, numbers too."""
    click.echo(_table(headers, [list(row) for row in rows]))


def echo_wrapped_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The same of texts for people: the last column goes on below itself, so that lines are of 80 columns at most."""
    cells = [list(row) for row in rows]
    left = _WIDTH
    for header, *texts in zip(headers[:-1], *(row[:-1] for row in cells), strict=True):
        left -= max(len(header) + _HEAD, *map(len, texts), 0) + _GAP
    for row in cells:
        row[-1] = "\n".join(wrap(row[-1], max(left, _NARROWEST), break_long_words=False, break_on_hyphens=False))
    click.echo(_table(headers, cells).replace(NO_BREAK, " "))


def _table(headers: Sequence[str], cells: list[list[Any]]) -> str:
    text = tabulate(cells, headers, tablefmt="plain", disable_numparse=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


def take_any_name(exact: bool) -> None:
    """Have standard output take any name: an initiator chooses its own, and not every encoding has its letters.

    What it has not is written as ``?``, which keeps a line as long as it is; where it has to be ``exact``, in CSV, as
    an escape.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace" if exact else "replace")


def size_text(size: int) -> str:
    """A number of bytes for people: ``1 GiB``, ``1.5 MiB``, ``513 B``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.4g} {unit}"
