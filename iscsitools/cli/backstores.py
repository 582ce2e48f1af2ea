"""``iscsitools backstores``: what disks can be made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from iscsitools.backstores.base import Backstore, Option
from iscsitools.cli.output import NO_BREAK, echo_json, echo_wrapped_table, json_option
from iscsitools.plugins import PluginManager


def default_text(value: object) -> str:
    """A default as one would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == () or value == "":
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_option(option: Option) -> dict[str, Any]:
    """For JSON; ``value`` is a word for what its parser takes."""
    word = getattr(option.parse, "__name__", "value")
    if word.isidentifier():
        word = word.upper()
    elif "|" not in word:  # a lambda's is <lambda>
        word = "VALUE"
    return {"name": option.name, "value": word, "default": default_text(option.default), "help": option.help}


def _entry(name: str, cls: type[Backstore], filters: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": "filter" if filters else "backstore",
        "spec": f"+{name}" if filters else f"{name}:{cls.what}",
        "summary": cls.summary,
        "options": [describe_option(option) for option in cls.options],
    }


def _rows(entries: Iterable[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for entry in entries:
        yield entry["spec"], "", entry["summary"]
        prefix = f"{entry['name']}." if entry["type"] == "filter" else ""
        for option in entry["options"]:
            yield f"{2 * NO_BREAK}{prefix}{option['name']}={option['value']}", option["default"], option["help"]


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the backstores and filters with their options.

    A disk is written KIND[+FILTER...]:WHAT[,key=value]..., with filters wrapping left to right.
    """
    manager = PluginManager()
    manager.load()
    entries = [_entry(name, cls, False) for name, cls in sorted(manager.registry.backstores.items())]
    entries += [_entry(name, cls, True) for name, cls in sorted(manager.registry.filters.items())]
    if as_json:
        echo_json(entries)
    else:
        echo_wrapped_table(("BACKSTORE, OPTIONS", "DEFAULT", "WHAT IT IS"), _rows(entries))
