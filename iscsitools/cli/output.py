"""What the commands print: tables, JSON, sizes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from typing import Any

import click
from tabulate import tabulate


def json_option(command: Any) -> Any:
    """Give a command ``--json``, as the parameter ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def echo_json(value: object) -> None:
    """Print ``value`` as JSON, indented for a person if a person reads it."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def echo_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table without lines; texts stay as they are, numbers too."""
    text = tabulate([list(row) for row in rows], headers, tablefmt="plain", disable_numparse=True)
    click.echo("\n".join(line.rstrip() for line in text.splitlines()))


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
